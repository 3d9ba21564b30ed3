//! tower-sessions' Redis store under axum, with real requests on loopback: tower_sessions PORT

use axum::{routing::get, Router};
use std::io::{Read, Write};
use std::net::SocketAddr;
use tower_sessions::{cookie::time::Duration, Expiry, Session, SessionManagerLayer};
use tower_sessions_redis_store::{fred::prelude::*, RedisStore};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

async fn count(session: Session) -> String {
    let visits = session.get::<u64>("visits").await.unwrap().unwrap_or(0) + 1;
    session.insert("visits", visits).await.unwrap();
    visits.to_string()
}

async fn log_in(session: Session) -> &'static str {
    session.cycle_id().await.unwrap();
    "in"
}

async fn leave(session: Session) -> &'static str {
    session.flush().await.unwrap();
    "left"
}

/// A browser with one cookie.
struct Browser {
    web: SocketAddr,
    cookie: String,
}

impl Browser {
    async fn get(&mut self, page: &str) -> Outcome<String> {
        let request = format!("GET /{page} HTTP/1.0\r\nCookie: {}\r\n\r\n", self.cookie);
        let web = self.web;
        let text = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
            let mut stream = std::net::TcpStream::connect(web)?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
        .await??;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no body")?;
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        if let Some(cookie) = set.and_then(|value| value.split(';').next()) {
            self.cookie = cookie.into();
        }
        Ok(body.into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let port = std::env::args().nth(1).ok_or("no port")?;
    let pool = Pool::new(Config::from_url(&format!("redis://127.0.0.1:{port}/7"))?, None, None, None, 2)?;
    pool.init().await?;
    pool.next().flushall::<()>(false).await?;

    let store = RedisStore::new(pool.clone());
    let sessions = SessionManagerLayer::new(store)
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(Duration::seconds(2)));
    let app = Router::new()
        .route("/count", get(count))
        .route("/log-in", get(log_in))
        .route("/leave", get(leave))
        .layer(sessions);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let web = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });

    let (mut one, mut two) = (Browser { web, cookie: String::new() }, Browser { web, cookie: String::new() });
    assert_eq!((one.get("count").await?, one.get("count").await?), ("1".into(), "2".into()));
    assert_eq!(two.get("count").await?, "1");
    assert_eq!(pool.next().dbsize::<i64>().await?, 2);
    let before = one.cookie.clone();
    one.get("log-in").await?;
    assert!(
        one.cookie != before && one.get("count").await? == "3" && pool.next().dbsize::<i64>().await? == 2
    );
    one.get("leave").await?;
    assert_eq!(pool.next().dbsize::<i64>().await?, 1);
    assert_eq!(one.get("count").await?, "1");
    tokio::time::sleep(std::time::Duration::from_millis(3200)).await;
    assert_eq!((one.get("count").await?, two.get("count").await?), ("1".into(), "1".into()));
    pool.next().flushall::<()>(false).await?;
    Ok(())
}
