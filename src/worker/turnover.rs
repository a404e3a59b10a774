//! What has to become of the workers of an app when its settings change. Only the rule; rollouts are `rollout`'s.

use super::Spec;
use super::spec::Instances;

/// What other settings mean for the workers that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turnover {
    /// All of them go on.
    Stay,
    /// They go on as far as there are to be so many; others are started or ended.
    Scale(u16),
    /// Each is replaced by one that is started with the new settings; so many there will be.
    RollOver(u16),
}

impl Turnover {
    /// A worker is started anew where more than the number, the surge or the output of workers has changed. `running` is
    /// how many there are, which an order may have changed: it counts until another number is written. `count` says how
    /// many `instances` are here.
    pub fn of(before: &Spec, after: &Spec, running: u16, count: impl FnOnce(Instances) -> u16) -> Self {
        let is_started_alike = Spec {
            instances: before.instances,
            rollout: before.rollout.clone(),
            logs: before.logs.clone(),
            ..after.clone()
        } == *before;
        let wanted = match after.instances {
            same if same == before.instances => running,
            Instances::Scaled(spec) => running.clamp(spec.min, spec.max.max(spec.min)),
            other => count(other),
        };
        match is_started_alike {
            false => Self::RollOver(wanted),
            true if wanted != running => Self::Scale(wanted),
            true => Self::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_roll_over_only_for_what_they_are_started_with() {
        let spec = |rest: &str| -> Spec {
            serde_json::from_str(&format!(r#"{{ "command": "node a.js", "instances": 2{rest} }}"#)).unwrap()
        };
        let before = spec("");
        let count = |instances: Instances| match instances {
            Instances::Auto => 8,
            Instances::Count(count) => count,
            Instances::Scaled(spec) => spec.min,
        };
        for (rest, expected) in [
            ("", Turnover::Stay),
            (r#", "rollout": { "surge": 3 }"#, Turnover::Stay),
            (r#", "logs": { "directory": "/var/log/app" }"#, Turnover::Stay),
            (r#", "env": { "A": "b" }"#, Turnover::RollOver(2)),
            (r#", "stop": { "timeout": "5s" }"#, Turnover::RollOver(2)),
            (r#", "restart": { "max_memory": "1GiB" }"#, Turnover::RollOver(2)),
        ] {
            assert_eq!(Turnover::of(&before, &spec(rest), 2, count), expected, "{rest}");
        }
        let auto = Spec { instances: Instances::Auto, ..before.clone() };
        assert_eq!(Turnover::of(&before, &auto, 2, count), Turnover::Scale(8));
        assert_eq!(Turnover::of(&before, &auto, 8, count), Turnover::Stay, "scaled there already");
        assert_eq!(Turnover::of(&before, &before, 5, count), Turnover::Stay, "scaled by an order");
        let other = Spec { preload: false, ..auto };
        assert_eq!(Turnover::of(&before, &other, 5, count), Turnover::RollOver(8));
    }
}
