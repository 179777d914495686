//! How long one small answer takes, from the client's call to its columns, one at a time over
//! loopback. Run by hand, in release, on a quiet machine: `cargo test --release -p forebay-serve
//! --test it speed -- --ignored --nocapture`.

use std::io::Write;
use std::time::{Duration, Instant};

use forebay_serve::ReadOptions;

use crate::exchange::at;
use crate::world::{NOON, World, rows, service};

#[tokio::test]
#[ignore = "a measurement: run it by hand, in release, on a quiet machine"]
async fn a_single_entity_answer_takes_less_than_200_us() {
    let world = World::start();
    let wide = service(1, 45);
    for view in wide.views() {
        world.store.register(view.spec());
    }
    world.reader.replace_services(vec![wide]);
    let client = world.client().await;
    let mut exchange = client
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let request = rows(&["JFK"]);
    let mut times = Vec::new();
    for _ in 0..20_000 {
        let started = Instant::now();
        exchange.read(&request, &at(NOON)).await.expect("an answer");
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let quantile = |q: f64| times[(times.len() as f64 * q) as usize];
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "p50 {:?}, p99 {:?}, p99.9 {:?}",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999)
    )
    .expect("written");
    assert!(
        quantile(0.5) < Duration::from_micros(200),
        "p50 is {:?}",
        quantile(0.5)
    );
}
