//! fred in its default settings: values, hashes, sets, transactions, scripts: fred PORT

use fred::prelude::*;
use fred::types::{scripts::Script, RespVersion};
use std::collections::HashMap;

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let port = std::env::args().nth(1).ok_or("no port")?;
    for version in [RespVersion::RESP2, RespVersion::RESP3] {
        let mut config = Config::from_url(&format!("redis://127.0.0.1:{port}/6"))?;
        config.version = version;
        let pool = Pool::new(config, None, None, None, 3)?;
        pool.init().await?;
        session(&pool).await?;
        pool.quit().await?;
    }
    Ok(())
}

async fn session(client: &Pool) -> Outcome {
    client.next().flushall::<()>(false).await?;
    client.set::<(), _, _>("k", "v", Some(Expiration::EX(60)), None, false).await?;
    assert_eq!(client.get::<String, _>("k").await?, "v");
    assert_eq!(client.get::<Option<String>, _>("none").await?, None);
    assert_eq!(client.set::<Option<String>, _, _>("k", "w", None, Some(SetOptions::NX), false).await?, None);
    assert!((50..=60).contains(&client.ttl::<i64, _>("k").await?));
    assert_eq!(client.incr_by::<i64, _>("n", 5).await?, 5);

    client.hset::<(), _, _>("h", [("name", "ada"), ("role", "admin")]).await?;
    let all: HashMap<String, String> = client.hgetall("h").await?;
    assert_eq!((all.len(), all["name"].as_str()), (2, "ada"));
    assert_eq!(
        client.hmget::<Vec<Option<String>>, _, _>("h", vec!["role", "none"]).await?,
        [Some("admin".into()), None]
    );
    assert_eq!(client.sadd::<i64, _, _>("s", vec!["a", "b"]).await?, 2);
    let mut members: Vec<String> = client.smembers("s").await?;
    members.sort();
    assert_eq!(members, ["a", "b"]);

    let transaction = client.next().multi();
    transaction.incr::<(), _>("n").await?;
    transaction.hlen::<(), _>("h").await?;
    assert_eq!(transaction.exec::<(i64, i64)>(true).await?, (6, 2));

    let release = Script::from_lua(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end",
    );
    release.load(client.next()).await?;
    client.set::<(), _, _>("lock", "mine", None, None, false).await?;
    assert_eq!(release.evalsha::<i64, _, _, _>(client, "lock", "theirs").await?, 0);
    assert_eq!(release.evalsha::<i64, _, _, _>(client, "lock", "mine").await?, 1);
    client.next().flushall::<()>(false).await?;
    assert_eq!(client.next().dbsize::<i64>().await?, 0);
    Ok(())
}
