//! redis-rs, blocking and asynchronous: values, hashes, sets, transactions, scripts: redis_rs PORT

use redis::{AsyncCommands, Commands, Script};
use std::collections::{HashMap, HashSet};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let port = std::env::args().nth(1).ok_or("no port")?;
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/5"))?;
    blocking(&client)?;
    let resp3 = redis::Client::open(format!("redis://127.0.0.1:{port}/5?protocol=resp3"))?;
    blocking(&resp3)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(asynchronous(&client))
}

fn blocking(client: &redis::Client) -> Outcome {
    let mut connection = client.get_connection()?;
    redis::cmd("FLUSHDB").exec(&mut connection)?;
    let _: () = connection.set_ex("k", "v", 60)?;
    assert_eq!(connection.get::<_, String>("k")?, "v");
    assert_eq!(connection.get::<_, Option<String>>("none")?, None);
    assert_eq!(connection.incr::<_, _, i64>("n", 5)?, 5);
    assert_eq!(connection.mget::<_, Vec<Option<i64>>>(&["n", "none"])?, [Some(5), None]);

    let _: () = connection.hset_multiple("h", &[("name", "ada"), ("role", "admin")])?;
    let all: HashMap<String, String> = connection.hgetall("h")?;
    assert_eq!(all, [("name", "ada"), ("role", "admin")].map(|(a, b)| (a.into(), b.into())).into());
    assert_eq!(connection.hincr::<_, _, _, i64>("h", "visits", 2)?, 2);
    assert_eq!(connection.sadd::<_, _, i64>("s", &["a", "b", "c"])?, 3);
    assert_eq!(connection.smembers::<_, HashSet<String>>("s")?.len(), 3);
    assert!(connection.sismember::<_, _, bool>("s", "b")?);
    for i in 0..2000 {
        let _: () = connection.sadd("many", i)?;
    }
    let seen: Result<HashSet<i64>, _> = connection.sscan("many")?.collect();
    assert_eq!(seen?.len(), 2000);

    let (a, b): (i64, i64) = redis::pipe().atomic().incr("n", 1).incr("n", 1).query(&mut connection)?;
    assert_eq!((a, b), (6, 7));
    let after: (i64,) = redis::transaction(&mut connection, &["n"], |connection, pipe| {
        let n: i64 = connection.get("n")?;
        pipe.set("n", n * 2).ignore().get("n").query(connection)
    })?;
    assert_eq!(after, (14,));

    // EVALSHA first, then LOAD where the script is not known.
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection)?;
    let release = Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end",
    );
    let _: () = connection.set("lock", "mine")?;
    assert_eq!(release.key("lock").arg("theirs").invoke::<i64>(&mut connection)?, 0);
    assert_eq!(release.key("lock").arg("mine").invoke::<i64>(&mut connection)?, 1);
    let wrong: redis::RedisResult<i64> = connection.hlen("k");
    assert_eq!(wrong.unwrap_err().code(), Some("WRONGTYPE"));
    redis::cmd("FLUSHDB").exec(&mut connection)?;
    Ok(())
}

async fn asynchronous(client: &redis::Client) -> Outcome {
    let connection = client.get_multiplexed_async_connection().await?;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.incr::<_, _, i64>("shared", 1).await })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let mut connection = connection.clone();
    assert_eq!(connection.get::<_, i64>("shared").await?, 50);
    let script = Script::new("return redis.call('HINCRBY', KEYS[1], ARGV[1], 3)");
    assert_eq!(script.key("h").arg("f").invoke_async::<i64>(&mut connection).await?, 3);
    redis::cmd("FLUSHDB").exec_async(&mut connection).await?;
    Ok(())
}
