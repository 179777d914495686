//! What everything that waits relies on: time that only passes, sleeps that last, threads and tasks
//! that run beside whoever started them.

use std::pin::pin;
use std::time::Duration;

use forebay_core::ports::Runtime;
use futures::channel::oneshot;
use futures::future::join;

const PAUSE: Duration = Duration::from_millis(20);

/// Everything that a [`Runtime`] promises. Not to be called from a task of it.
///
/// # Panics
/// A promise is not kept.
pub fn runtime(runtime: &dyn Runtime) {
    let began = runtime.elapsed();
    runtime.wait(runtime.sleep(PAUSE).as_mut());
    let slept = runtime.elapsed();
    assert!(slept >= began + PAUSE, "{began:?} to {slept:?}");
    // Two sleeps at once are as long as the longer one.
    let both = join(runtime.sleep(PAUSE), runtime.sleep(PAUSE * 2));
    let mut both = pin!(async {
        let ((), ()) = both.await;
    });
    runtime.wait(both.as_mut());
    assert!(runtime.elapsed() >= slept + PAUSE * 2);

    let (tell, heard) = oneshot::channel();
    let body = move || tell.send("a thread").expect("somebody waits");
    let started = runtime.spawn_thread("conformance", Box::new(body));
    started.expect("there is a thread");
    assert_eq!(hear(runtime, heard), "a thread");

    let (tell, heard) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let task = async move {
        gone.await.expect("it is told to go on");
        tell.send("a task").expect("somebody waits");
    };
    runtime.spawn_task("conformance", Box::pin(task));
    go.send(()).expect("the task waits beside this thread");
    assert_eq!(hear(runtime, heard), "a task");
}

fn hear(runtime: &dyn Runtime, heard: oneshot::Receiver<&'static str>) -> &'static str {
    let mut words = None;
    {
        let mut waits = pin!(async { words = heard.await.ok() });
        runtime.wait(waits.as_mut());
    }
    words.expect("a wait ends when its future is done, and not before")
}
