//! The config in force, and what a reload would change, as the control interface tells it.

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::office::{Office, ending, say};
use super::page::Page;
use super::view;
use crate::control::command::{Command, InForce};
use crate::control::plan::{Change, KeyChange, Plan};
use crate::worker::Turnover;

impl Office {
    pub(super) async fn plan(&self) -> Page {
        let (waiter, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Plan(waiter)).is_ok();
        match answer.await {
            Ok(Ok(plan)) if sent => say(StatusCode::OK, &plan_view(&plan)),
            Ok(Err(problems)) => {
                let error = "the config has problems; a reload would change nothing";
                let problems: Vec<_> = problems.0.iter().map(view::problem).collect();
                say(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "error": error, "problems": problems }))
            }
            _ => ending(),
        }
    }

    pub(super) async fn config(&self) -> Page {
        match self.in_force().await {
            Some(in_force) => say(StatusCode::OK, &view::json(view::config(in_force))),
            None => ending(),
        }
    }

    pub(super) async fn routes(&self) -> Page {
        match self.in_force().await {
            Some(InForce { config, .. }) => say(StatusCode::OK, &view::json(view::routes(self, &config))),
            None => ending(),
        }
    }

    /// The config in force; `None` while the program ends.
    async fn in_force(&self) -> Option<InForce> {
        let (waiter, answer) = oneshot::channel();
        self.commands.send(Command::Config(waiter)).ok()?;
        answer.await.ok()
    }
}

/// What a reload would change. Keys are only ever added.
fn plan_view(plan: &Plan) -> Value {
    json!({
        "summary": plan.summary(),
        "changes": plan.changes.iter().map(change).collect::<Vec<_>>(),
        "needs_restart": plan.needs_restart,
        "warnings": plan.warnings,
    })
}

fn change(change: &Change) -> Value {
    let key = |key: &KeyChange| {
        json!({
            "key": key.at.to_string(),
            "name": key.name,
            "old": key.old,
            "new": key.new,
            "text": key.text(),
        })
    };
    json!({
        "kind": change.kind.word(),
        "section": change.section.word(),
        "what": change.what,
        "key": change.at.to_string(),
        "keys": change.keys.iter().map(key).collect::<Vec<_>>(),
        "effects": change.effects,
        "workers": change.turnover.map(|turnover| match turnover {
            Turnover::Stay => "stay",
            Turnover::Scale(_) => "scale",
            Turnover::RollOver(_) => "roll over",
        }),
    })
}
