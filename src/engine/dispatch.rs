//! From verb to function: ONE match over every row of the table. It has no wildcard, so that a verb without a function
//! does not compile.

#[cfg(feature = "scripts")]
use super::script;
use super::{
    Call, Continuation, Flow, Outcome, absent, bitfield, bitop, bits, client, commands, config, counters,
    dump, expire, field_expiry, handshake, hashes, help, info, keys, latency, lcs, memory, multiple, object,
    persistence, ranges, restore, scan, server, set, set_algebra, sets, slowlog, sort, strings,
};
use crate::command::{Arguments, VerbId};
use crate::reply::ErrorKind;

/// Arguments of a verb that takes [few](crate::command::Arguments::Few), at most. None but hostile commands come near it.
pub const UNCUT_ARGS_MAX: usize = 1024;

/// Whether a verb is one step, however many keys it has.
#[must_use]
pub fn is_one_step(id: VerbId) -> bool {
    use VerbId as V;
    matches!(id, V::Mset | V::Msetnx | V::Msetex | V::Bitop | V::Exec)
}

impl<'a> Call<'_, 'a, '_> {
    /// Runs the verb, or its next slice.
    #[inline]
    pub(super) fn run(&mut self, continuation: Option<Continuation>) -> Outcome<'a> {
        use VerbId as V;
        if self.args.len() > UNCUT_ARGS_MAX && self.verb.arguments == Arguments::Few {
            return Err(ErrorKind::Syntax.plain());
        }
        match self.verb.id {
            V::Get => strings::get(self),
            V::Getrev => strings::getrev(self),
            V::Set | V::Put => set::set(self, continuation),
            V::Setnx => set::setnx(self),
            V::Setex | V::Psetex => set::setex(self),
            V::Getset => set::getset(self),
            V::Getex => strings::getex(self),
            V::Getdel => strings::getdel(self),
            V::Delifeq => strings::delifeq(self, continuation),
            V::Delex => strings::delex(self, continuation),
            V::Strlen => strings::strlen(self),
            V::Append => ranges::append(self, continuation),
            V::Setrange => ranges::setrange(self, continuation),
            V::Getrange | V::Substr => ranges::getrange(self),
            V::Mget => multiple::mget(self, continuation),
            V::Mset => multiple::mset(self),
            V::Msetnx => multiple::msetnx(self),
            V::Msetex => multiple::msetex(self),
            V::Lcs => lcs::lcs(self),
            V::Setbit => bits::setbit(self, continuation),
            V::Getbit => bits::getbit(self),
            V::Bitcount => bits::bitcount(self, continuation),
            V::Bitpos => bits::bitpos(self, continuation),
            V::Bitop => bitop::bitop(self, continuation),
            V::Bitfield | V::BitfieldRo => bitfield::bitfield(self, continuation),
            V::Incr | V::Decr | V::Incrby | V::Decrby => counters::incr(self),
            V::Incrbyfloat => counters::incrbyfloat(self),

            V::Hset | V::Hmset => hashes::hset(self, continuation),
            V::Hsetnx => hashes::hsetnx(self),
            V::Hget => hashes::hget(self),
            V::Hmget => hashes::hmget(self, continuation),
            V::Hgetall | V::Hkeys | V::Hvals => hashes::hgetall(self, continuation),
            V::Hdel => hashes::hdel(self, continuation),
            V::Hexists => hashes::hexists(self),
            V::Hlen => hashes::hlen(self),
            V::Hstrlen => hashes::hstrlen(self),
            V::Hincrby => hashes::hincrby(self),
            V::Hincrbyfloat => hashes::hincrbyfloat(self),
            V::Hscan => hashes::hscan(self),
            V::Hrandfield => hashes::hrandfield(self, continuation),
            V::Hexpire
            | V::Hpexpire
            | V::Hexpireat
            | V::Hpexpireat
            | V::Httl
            | V::Hpttl
            | V::Hexpiretime
            | V::Hpexpiretime
            | V::Hpersist
            | V::Hgetdel
            | V::Hgetex => field_expiry::fields(self, continuation),
            V::Hsetex => field_expiry::hsetex(self, continuation),

            V::Sadd => sets::sadd(self, continuation),
            V::Srem => sets::srem(self, continuation),
            V::Sismember => sets::sismember(self),
            V::Smismember => sets::smismember(self, continuation),
            V::Scard => sets::scard(self),
            V::Smembers => sets::smembers(self, continuation),
            V::Spop => sets::spop(self, continuation),
            V::Srandmember => sets::srandmember(self, continuation),
            V::Sscan => sets::sscan(self),
            V::Smove => sets::smove(self),
            V::Sinter
            | V::Sintercard
            | V::Sinterstore
            | V::Sunion
            | V::Sunionstore
            | V::Sdiff
            | V::Sdiffstore => set_algebra::run(self, continuation),

            V::Del | V::Delete | V::Unlink => keys::del(self, continuation),
            V::Exists | V::Touch => keys::exists(self, continuation),
            V::Type => keys::kind(self),
            V::Expire | V::Pexpire | V::Expireat | V::Pexpireat => expire::expire(self),
            V::Ttl | V::Pttl | V::Expiretime | V::Pexpiretime => expire::ttl(self),
            V::Persist => expire::persist(self),
            V::Rename | V::Renamenx => keys::rename(self),
            V::Copy => keys::copy(self),
            V::Move => keys::move_key(self),
            V::Randomkey => keys::randomkey(self),
            V::Dbsize => keys::dbsize(self),
            V::Flushdb | V::Flushall => keys::flush(self),
            V::Swapdb => keys::swapdb(self),
            V::Sort | V::SortRo => sort::sort(self, continuation),
            V::Dump => dump::dump(self, continuation),
            V::Restore => restore::restore(self, continuation),
            V::Keys => scan::keys(self, continuation),
            V::Scan => scan::scan(self),
            V::ObjectEncoding => object::encoding(self),
            V::ObjectRefcount => object::refcount(self),
            V::ObjectFreq => object::freq(self),
            V::ObjectIdletime => object::idletime(self),
            V::MemoryUsage => memory::usage(self),

            V::Ping => handshake::ping(self),
            V::Echo => handshake::echo(self),
            V::Select => handshake::select(self),
            V::Hello => handshake::hello(self),
            V::Auth => handshake::auth(self),
            V::ClientId => client::id(self),
            V::ClientGetname => client::getname(self),
            V::ClientSetname => client::setname(self),
            V::ClientSetinfo => client::setinfo(self),
            V::ClientReply => client::reply(self),
            V::ClientNoEvict => client::no_evict(self),
            V::ClientNoTouch => client::no_touch(self),
            V::ClientUnblock => absent::client_unblock(self),
            V::Quit => {
                self.out.ok();
                Ok(Flow::Close)
            }

            V::Info => info::info(self),
            V::ConfigGet => config::get(self),
            V::ConfigSet => config::set(self),
            V::ConfigResetstat => config::resetstat(self),
            V::Command => commands::all(self),
            V::CommandCount => commands::count(self),
            V::CommandList => commands::list(self),
            V::CommandInfo => commands::info(self, continuation),
            V::CommandDocs => commands::docs(self, continuation),
            V::CommandGetkeys => commands::getkeys(self),
            V::CommandGetkeysandflags => commands::getkeysandflags(self),
            V::Time => server::time(self),
            V::Lastsave => persistence::lastsave(self),
            V::Waitaof => persistence::waitaof(self),
            V::Save | V::Bgsave | V::Bgrewriteaof => persistence::save(self),
            V::Role => absent::role(self),
            V::Lolwut => absent::lolwut(self),
            V::AclWhoami => absent::acl_whoami(self),
            V::AclUsers => absent::acl_users(self),
            V::AclCat => absent::acl_cat(self),
            V::ModuleList => absent::module_list(self),
            V::Cluster | V::Readonly | V::Readwrite | V::Asking => absent::cluster(self),
            V::Wait => server::wait(self),
            V::Debug => server::debug(self),
            #[cfg(feature = "scripts")]
            V::Eval | V::EvalRo | V::Evalsha | V::EvalshaRo => script::eval(self),
            #[cfg(feature = "scripts")]
            V::ScriptLoad => script::load(self),
            #[cfg(feature = "scripts")]
            V::ScriptExists => script::exists(self),
            #[cfg(feature = "scripts")]
            V::ScriptFlush => script::flush(self),
            #[cfg(feature = "scripts")]
            V::ScriptKill => script::kill(self),
            #[cfg(feature = "scripts")]
            V::ScriptHelp => help::run(self),
            V::FunctionFlush => server::function_flush(self),
            V::FunctionList => server::function_list(self),
            V::MemoryDoctor => memory::doctor(self),
            V::MemoryPurge => memory::purge(self),
            V::MemoryStats => memory::stats(self),
            V::SlowlogGet => slowlog::get(self),
            V::SlowlogLen => slowlog::len(self),
            V::SlowlogReset => slowlog::reset(self),
            V::LatencyHistogram => latency::histogram(self),
            V::LatencyReset => latency::reset(self),
            V::LatencyLatest | V::LatencyHistory => latency::no_events(self),
            V::ObjectHelp
            | V::ClientHelp
            | V::ConfigHelp
            | V::CommandHelp
            | V::MemoryHelp
            | V::SlowlogHelp
            | V::LatencyHelp
            | V::FunctionHelp
            | V::AclHelp
            | V::ModuleHelp
            | V::PubsubHelp => help::run(self),

            // The server's, which knows the other connections (flag CONNECTION): see `server/clients.rs`.
            V::Reset
            | V::ClientInfo
            | V::ClientList
            | V::ClientKill
            | V::ClientUnpause
            | V::ClientPause
            | V::Multi
            | V::Exec
            | V::Discard
            | V::Watch
            | V::Unwatch
            | V::ClientTracking
            | V::ClientCaching
            | V::ClientGetredir
            | V::ClientTrackinginfo
            | V::Watchprefix
            | V::Unwatchprefix
            | V::Subscribe
            | V::Unsubscribe
            | V::Psubscribe
            | V::Punsubscribe
            | V::Ssubscribe
            | V::Sunsubscribe
            | V::Publish
            | V::Spublish
            | V::PubsubChannels
            | V::PubsubNumpat
            | V::PubsubNumsub
            | V::PubsubShardchannels
            | V::PubsubShardnumsub
            | V::Shutdown => Err(ErrorKind::NotInsideMulti.plain()),

            // Containers: `Engine::admit` answers with the row of the subcommand, or refuses.
            #[cfg(feature = "scripts")]
            V::Script => Err(ErrorKind::WrongArity.of(self.verb.name.as_bytes())),
            V::Object
            | V::Client
            | V::Config
            | V::Memory
            | V::Slowlog
            | V::Latency
            | V::Function
            | V::Acl
            | V::Module
            | V::Pubsub => Err(ErrorKind::WrongArity.of(self.verb.name.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Flags, VERBS, VerbId};
    use crate::engine::testing::Bench;

    #[test]
    fn only_the_servers_own_verbs_are_refused_as_such() {
        let mut bench = Bench::new();
        for verb in VERBS.iter().filter(|verb| !verb.flags.has(Flags::CONTAINER)) {
            let count = usize::from(verb.arity.unsigned_abs()).max(2);
            let mut words: Vec<&str> = verb.name.split('|').collect();
            words.resize(count.max(words.len()), "1");
            if verb.arity == 1 {
                words.truncate(1);
            }
            let reply = bench.run(&words.join(" "));
            let is_servers = verb.flags.has(Flags::CONNECTION) && verb.id != VerbId::Quit;
            assert_eq!(reply.contains("not allowed inside a transaction"), is_servers, "{words:?}: {reply}");
        }
    }
}
