//! What is done to a request before it goes to a server, and to a response before it goes to the client.
//!
//! Policies are lists of filters; compiling turns them into one short list per phase. Order between phases is fixed,
//! order inside a phase is the user's. A filter sees a head and nothing of sockets, pools or routes.
//! A new filter is its file, a variant of `Spec`, and a variant of each phase that it takes part in.

pub mod grpc_web;
pub mod headers;
pub mod spec;

pub use grpc_web::GrpcWeb;
pub use spec::Spec;

use crate::reply::Reply;
use crate::wire::head::Head;

/// The filters of a policy, or of all policies of a route, by phase.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    guards: Vec<Guard>,
    request_edits: Vec<RequestEdit>,
    response_edits: Vec<ResponseEdit>,
}

/// A filter that may answer in place of the route.
#[derive(Clone, Debug)]
enum Guard {
    /// Answers preflights. There is one at most.
    GrpcWeb(GrpcWeb),
}

/// A filter that changes a request on its way to a server.
#[derive(Clone, Debug)]
enum RequestEdit {
    Headers(headers::Edit),
}

/// A filter that changes a response on its way to the client.
#[derive(Clone, Debug)]
enum ResponseEdit {
    Headers(headers::Edit),
}

/// A guard's word on a request.
#[derive(Debug)]
pub enum Verdict {
    Pass,
    /// The filter's own deliberate reply; not a failure.
    Answer(Box<Reply>),
}

/// Something wrong in a policy, found while compiling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileProblem {
    /// The key below the policy, such as `[0].headers.request.set.connection`.
    pub at: String,
    pub message: String,
}

impl Filters {
    /// Compiles one policy; all problems are reported at once.
    pub fn compile(policy: &[Spec]) -> Result<Self, Vec<CompileProblem>> {
        let mut filters = Self::default();
        let mut problems = Vec::new();
        for (place, spec) in policy.iter().enumerate() {
            let compiled = match spec {
                Spec::Headers(spec) => headers::compile(spec).map(|(request, response)| {
                    filters.request_edits.extend(request.map(RequestEdit::Headers));
                    filters.response_edits.extend(response.map(ResponseEdit::Headers));
                }),
                Spec::GrpcWeb(spec) => {
                    GrpcWeb::compile(spec).map(|compiled| filters.add_guard(Guard::GrpcWeb(compiled)))
                }
            };
            let below =
                |found: CompileProblem| CompileProblem { at: format!("[{place}].{}", found.at), ..found };
            problems.extend(compiled.err().into_iter().flatten().map(below));
        }
        if problems.is_empty() { Ok(filters) } else { Err(problems) }
    }

    /// A later `grpc_web` takes the place of an earlier one: a call can be translated only once.
    fn add_guard(&mut self, guard: Guard) {
        match guard {
            Guard::GrpcWeb(_) => self.guards.retain(|other| !matches!(other, Guard::GrpcWeb(_))),
        }
        self.guards.push(guard);
    }

    /// Asks each guard; the first that answers ends it.
    pub fn guard(&self, request: &Head) -> Verdict {
        let answer = self.guards.iter().find_map(|guard| match guard {
            Guard::GrpcWeb(filter) => filter.preflight(request),
        });
        answer.map_or(Verdict::Pass, |reply| Verdict::Answer(Box::new(reply)))
    }

    /// The filter for gRPC-Web, if calls are to be translated.
    pub fn grpc_web(&self) -> Option<&GrpcWeb> {
        self.guards.iter().map(|Guard::GrpcWeb(filter)| filter).next()
    }

    pub fn edit_request(&self, head: &mut Head) {
        for edit in &self.request_edits {
            match edit {
                RequestEdit::Headers(edit) => edit.apply(head),
            }
        }
    }

    pub fn edit_response(&self, head: &mut Head) {
        for edit in &self.response_edits {
            match edit {
                ResponseEdit::Headers(edit) => edit.apply(head),
            }
        }
    }
}

/// The policies of a route, in its order.
impl<'a> FromIterator<&'a Filters> for Filters {
    fn from_iter<I: IntoIterator<Item = &'a Filters>>(policies: I) -> Self {
        policies.into_iter().fold(Self::default(), |mut all, policy| {
            policy.guards.iter().for_each(|guard| all.add_guard(guard.clone()));
            all.request_edits.extend_from_slice(&policy.request_edits);
            all.response_edits.extend_from_slice(&policy.response_edits);
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(response: headers::EditSpec) -> Vec<Spec> {
        vec![Spec::Headers(headers::Spec { response, ..Default::default() })]
    }

    fn edit(name: &str, value: &str) -> headers::EditSpec {
        headers::EditSpec { set: [(name.to_owned(), value.to_owned())].into(), ..Default::default() }
    }

    #[test]
    fn policies_run_in_the_order_of_the_route() {
        let first = Filters::compile(&policy(edit("x-by", "first"))).unwrap();
        let second = Filters::compile(&policy(edit("x-by", "second"))).unwrap();
        for (order, last) in [([&first, &second], "second"), ([&second, &first], "first")] {
            let filters: Filters = order.into_iter().collect();
            let mut head = Head::response(200, "OK");
            filters.edit_response(&mut head);
            assert_eq!(head.all_named("X-By").collect::<Vec<_>>(), [last.as_bytes()]);
            let mut head = Head::new();
            assert!(matches!(filters.guard(&head), Verdict::Pass));
            filters.edit_request(&mut head);
            assert!(head.is_empty());
        }
    }

    #[test]
    fn the_last_grpc_web_of_a_route_wins() {
        let grpc_web = |origins: Option<&str>| {
            Spec::GrpcWeb(grpc_web::Spec { origins: origins.map(|origin| vec![origin.to_owned()]) })
        };
        let (first, second) = (grpc_web(Some("https://a.test")), grpc_web(Some("https://b.test")));
        let mut preflight = Head::new();
        preflight.set_method(b"OPTIONS");
        preflight.add("Origin", b"https://b.test");
        preflight.add("Access-Control-Request-Method", b"POST");
        let status = |filters: &Filters| match filters.guard(&preflight) {
            Verdict::Pass => None,
            Verdict::Answer(reply) => Some(reply.head.status),
        };
        let compile = |specs: &[&Spec]| {
            let specs: Vec<Spec> = specs.iter().copied().cloned().collect();
            Filters::compile(&specs).unwrap()
        };
        assert_eq!(status(&compile(&[&first, &second])), Some(204));
        assert_eq!(status(&compile(&[&second, &first])), Some(403));
        let policies = [compile(&[&second]), compile(&[]), compile(&[&first])];
        assert_eq!(status(&policies.iter().collect()), Some(403));
        let filters: Filters = policies.iter().rev().collect();
        assert_eq!(status(&filters), Some(204));
        assert_eq!(filters.grpc_web(), compile(&[&second]).grpc_web());

        assert!(compile(&[]).grpc_web().is_none());
        let silent = compile(&[&first, &grpc_web(None)]);
        assert_eq!((status(&silent), silent.grpc_web().is_some()), (None, true));
    }

    #[test]
    fn every_problem_of_a_policy_has_its_place() {
        let mut specs = policy(edit("x-good", "1"));
        specs.extend(policy(edit("content-length", "1")));
        specs.extend(policy(edit("x\n", "1")));
        specs.push(Spec::GrpcWeb(grpc_web::Spec { origins: Some(vec!["a.test".to_owned()]) }));
        let at: Vec<_> =
            Filters::compile(&specs).unwrap_err().into_iter().map(|problem| problem.at).collect();
        assert_eq!(
            at,
            [
                "[1].headers.response.set.content-length",
                "[2].headers.response.set.x\n",
                "[3].grpc_web.origins[0]"
            ]
        );
    }
}
