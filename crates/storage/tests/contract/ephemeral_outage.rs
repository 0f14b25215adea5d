//! Redis gone, deaf or talking nonsense: an operation ends soon and says that the store is not available.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use storage::{Check, Clock, Ephemeral, EphemeralConfig, Error};

const TIMEOUT: Duration = Duration::from_millis(100);

fn connect(address: SocketAddr) -> Ephemeral {
    let config = EphemeralConfig::Redis { url: format!("redis://{address}/").into(), timeout: TIMEOUT };
    Ephemeral::connect(config, Clock::system()).unwrap()
}

/// Asserts that every operation fails as it should, and that all of them together take no longer than an outage may.
async fn assert_down(store: &Ephemeral) {
    let start = Instant::now();
    for _ in 0..20 {
        assert!(store.decide(&[Check::Absent { key: "k" }]).await.unwrap_err().is_unavailable());
    }
    assert!(store.raise("k", 1, TIMEOUT).await.unwrap_err().is_unavailable());
    assert!(store.put_if_absent("k", "", TIMEOUT).await.unwrap_err().is_unavailable());
    assert!(store.get("k").await.unwrap_err().is_unavailable());
    assert!(store.forget("k").await.unwrap_err().is_unavailable());
    assert!(store.ping().await.unwrap_err().is_unavailable());
    // One call pays the time-out; the breaker answers for the rest. Without it, 25 would take 2.5 seconds.
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_cause_is_told_and_the_password_is_not() {
    let real = crate::world::redis_url();
    let wrong = real.replacen("redis://", "redis://someone:hunter2@", 1);
    for (url, cause) in [(wrong.as_str(), "auth"), ("redis://someone:hunter2@127.0.0.1:1", "refused")] {
        let config = EphemeralConfig::Redis { url: url.into(), timeout: Duration::from_secs(2) };
        let error = Ephemeral::connect(config, Clock::system()).unwrap().ping().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.to_lowercase().contains(cause) && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = connect(address);
    assert!(store.is_redis());
    assert_down(&store).await;
}

#[tokio::test]
async fn somebody_listens_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_down(&connect(listener.local_addr().unwrap())).await;
}

#[tokio::test]
async fn somebody_speaks_another_language() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = { stream }.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = connect(address).get("k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_) | Error::Inconsistent { .. }), "{error:?}");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_and_never_shown() {
    let config = EphemeralConfig::Redis { url: "http://:hunter2@x".into(), timeout: TIMEOUT };
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = Ephemeral::connect(config, Clock::system()).unwrap_err();
    assert!(matches!(error, Error::Refused(_)) && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// Needs real time, as the next: the breaker guards against a real outage, whatever the clock says.
#[tokio::test]
async fn it_works_again_once_somebody_answers() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = connect(address);
    assert!(store.ping().await.is_err());
    tokio::spawn(forward(address));
    works_again(&store).await;
    assert!(store.put_if_absent(&format!("back:{address}"), "x", TIMEOUT).await.is_ok());
}

/// Each thread has a connection of its own, and an outage ends them all: one call finds out for everybody.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_the_first_call_of_each_thread_works() {
    const THREADS: usize = 4;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (store, step) = (connect(address), Barrier::new(THREADS + 1));
    let proxy = tokio::spawn(forward(address));
    works_again(&store).await;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(store.ping()).unwrap();
                step.wait();
                step.wait();
                runtime.block_on(store.ping()).unwrap();
            });
        }
        tokio::task::block_in_place(|| {
            step.wait();
            tokio::runtime::Handle::current().block_on(async {
                proxy.abort();
                assert!(proxy.await.unwrap_err().is_cancelled());
                assert!(store.ping().await.unwrap_err().is_unavailable());
                tokio::spawn(forward(address));
                works_again(&store).await;
            });
            step.wait();
        });
    });
}

async fn works_again(store: &Ephemeral) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.ping().await.is_err() {
        assert!(Instant::now() < deadline, "still refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Stands between a store and the real Redis; its connections end with it.
async fn forward(from: SocketAddr) {
    let url = crate::world::redis_url();
    let (_, server) = url.rsplit_once('@').or_else(|| url.split_once("://")).unwrap();
    let real = server.split('/').next().unwrap();
    let listener = tokio::net::TcpListener::bind(from).await.unwrap();
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let mut far = tokio::net::TcpStream::connect(real).await.unwrap();
        connections.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    }
}
