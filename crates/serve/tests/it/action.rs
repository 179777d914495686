//! DoAction: our own actions, those of the administration port, and what it runs into: errors with
//! their kinds, a panic that is contained, names that nobody knows.

use arrow_flight::{Action, Empty};
use forebay_core::ErrorKind;
use futures::TryStreamExt;

use crate::wire::raw;
use crate::world::World;

#[tokio::test]
async fn actions_are_listed_and_carried_out() {
    let world = World::start();
    let client = world.client().await;
    let listed = raw(&world)
        .await
        .list_actions(Empty {})
        .await
        .expect("a list")
        .into_inner();
    let listed: Vec<_> = listed.try_collect().await.expect("one after another");
    let names: Vec<&str> = listed.iter().map(|a| a.r#type.as_str()).collect();
    assert_eq!(
        names,
        ["health", "services", "echo", "big", "refuse", "panic"]
    );
    assert!(listed.iter().all(|a| !a.description.is_empty()));

    let health: serde_json::Value =
        serde_json::from_slice(&client.action("health", "").await.expect("an answer"))
            .expect("JSON");
    assert_eq!(
        health,
        serde_json::json!({"status": "serving", "services": 1})
    );
    assert_eq!(
        client
            .action("echo", r#"{"a":1}"#)
            .await
            .expect("an answer"),
        br#"{"a":1}"#
    );
    assert_eq!(client.action("echo", "").await.expect("an answer"), b"");
    assert_eq!(
        client.action("big", "").await.expect("in parts").len(),
        (3 << 20) + 17
    );
}

#[tokio::test]
async fn what_an_action_runs_into_is_told_and_the_server_goes_on() {
    let world = World::start();
    let client = world.client().await;
    for (action, kind, words) in [
        (
            "refuse",
            ErrorKind::FailedPrecondition,
            "a definition is in the way",
        ),
        ("panic", ErrorKind::Internal, "action panic was given up"),
        (
            "reboot",
            ErrorKind::InvalidArgument,
            "known actions: health, services, echo",
        ),
    ] {
        let error = client.action(action, "{}").await.expect_err(words);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        client.action("health", "").await.expect("goes on");
    }
    let alone = World::start_with(std::time::Duration::from_secs(30), |services| {
        services.admin = None
    });
    let results = raw(&alone)
        .await
        .do_action(Action::new("echo", ""))
        .await
        .expect("a stream")
        .into_inner();
    let status = results
        .try_collect::<Vec<_>>()
        .await
        .expect_err("nobody administers");
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
}
