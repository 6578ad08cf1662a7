//! One look at everything that the stream does not announce, in one transaction of bounded size.

use std::time::Instant;

use crate::answers::Answers;
use gosd_core::InstanceId;
use redis::{FromRedisValue, RedisError, RedisResult, Value};

use crate::cursor::{Entry, text};
use crate::evidence::ends_after;
use crate::layout::Keys;
use crate::snapshot;

/// How many entries of the stream are read at once.
pub(crate) const ENTRIES: usize = 500;
/// How many leases are read to see whether any is renewed.
const SAMPLE: usize = 8;

/// The parameters of a look.
pub(crate) struct Question<'a> {
    /// The position in the stream after which to read.
    pub(crate) position: &'a str,
    /// The first lease of interest ends after this, in ms by the server's clock.
    pub(crate) after: u64,
    /// The instances whose records are of interest.
    pub(crate) ids: Vec<InstanceId>,
    /// Whether these may have leases.
    pub(crate) with_leases: bool,
    /// The leases whose renewals are of interest, if this process has to rely on those of others.
    pub(crate) renewals: Option<&'a Sample>,
}

/// Some leases, and when each ends.
#[derive(Default)]
pub(crate) struct Sample {
    /// In ms by the server's clock.
    pub(crate) taken_at: u64,
    leases: Vec<(Vec<u8>, f64)>,
}

/// The state of the registry at one instant.
pub(crate) struct Look {
    /// In ms, by the server's clock.
    pub(crate) now: u64,
    pub(crate) sent: Instant,
    pub(crate) received: Instant,
    /// The entry at the position.
    pub(crate) at_position: Option<Entry>,
    /// The entries after it, [`ENTRIES`] at most.
    pub(crate) entries: Vec<Entry>,
    /// How many fields the registry has.
    pub(crate) fields: i64,
    /// How many leases there are.
    pub(crate) leases: i64,
    /// When the first lease of interest ends.
    pub(crate) next_end: Option<u64>,
    /// When the last one of all ends, but for those that somebody gave no end (`+inf`).
    pub(crate) last_end: Option<u64>,
    /// Those of the instances of interest, in their order.
    pub(crate) records: Vec<(InstanceId, Record)>,
    /// The leases that end next, if asked for, and whether one of the sample before was renewed.
    pub(crate) renewals: Option<(Sample, bool)>,
}

/// The stored parts of one instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) url: Option<String>,
    pub(crate) meta: Option<String>,
    /// If that was asked.
    pub(crate) has_lease: bool,
}

impl Look {
    pub(crate) async fn take(
        redis: &mut Answers,
        keys: &Keys,
        question: Question<'_>,
    ) -> RedisResult<Self> {
        let Question { position, after, ids, with_leases, renewals } = question;
        let mut ask = redis::pipe();
        ask.atomic().cmd("TIME");
        ask.cmd("XRANGE").arg(&keys.events).arg(position).arg(position);
        ask.cmd("XREAD").arg("COUNT").arg(ENTRIES).arg("STREAMS").arg(&keys.events).arg(position);
        ask.cmd("HLEN").arg(&keys.registry).cmd("ZCARD").arg(&keys.leases);
        ask.cmd("ZRANGEBYSCORE").arg(&keys.leases).arg(ends_after(after)).arg("+inf");
        ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        ask.cmd("ZREVRANGEBYSCORE").arg(&keys.leases).arg("(+inf").arg("-inf");
        ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        if !ids.is_empty() {
            let fields: Vec<&str> = ids.iter().map(InstanceId::as_str).collect();
            ask.cmd("HMGET").arg(&keys.registry).arg(&fields);
            ask.cmd("HMGET").arg(&keys.meta).arg(&fields);
        }
        // Redis 5 cannot be asked for several at once.
        for id in ids.iter().filter(|_| with_leases) {
            ask.cmd("ZSCORE").arg(&keys.leases).arg(id.as_str());
        }
        if let Some(sample) = renewals {
            for (id, _) in &sample.leases {
                ask.cmd("ZSCORE").arg(&keys.leases).arg(id);
            }
            ask.cmd("ZRANGEBYSCORE").arg(&keys.leases).arg(sample.taken_at).arg("+inf");
            ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(SAMPLE);
        }
        let sent = Instant::now();
        let mut replies = Replies(ask.query_async::<Vec<Value>>(redis).await?.into_iter());
        let received = Instant::now();

        let now = snapshot::millis(replies.next()?);
        let at_position = replies.next::<Vec<Entry>>()?.into_iter().next();
        let streams: Option<Vec<(String, Vec<Entry>)>> = replies.next()?;
        let entries = streams.into_iter().flatten().flat_map(|(_, entries)| entries).collect();
        let (fields, leases) = (replies.next()?, replies.next()?);
        let (next_end, last_end) = (replies.next_end()?, replies.next_end()?);
        let mut records = Vec::with_capacity(ids.len());
        if !ids.is_empty() {
            let (urls, metas): (Vec<Value>, Vec<Value>) = (replies.next()?, replies.next()?);
            for ((id, url), meta) in ids.into_iter().zip(urls).zip(metas) {
                let has_lease = with_leases && replies.next::<Value>()? != Value::Nil;
                records.push((id, Record { url: text(url), meta: text(meta), has_lease }));
            }
        }
        let renewals = match renewals {
            None => None,
            Some(before) => {
                let mut renewed = false;
                for (_, end) in &before.leases {
                    renewed |= replies.next::<Option<f64>>()?.is_some_and(|now| now > *end);
                }
                Some((Sample { taken_at: now, leases: replies.next()? }, renewed))
            }
        };
        Ok(Self {
            now,
            sent,
            received,
            at_position,
            entries,
            fields,
            leases,
            next_end,
            last_end,
            records,
            renewals,
        })
    }
}

/// The replies of a transaction, in turn.
struct Replies(std::vec::IntoIter<Value>);

impl Replies {
    fn next<T: FromRedisValue>(&mut self) -> RedisResult<T> {
        redis::from_redis_value(self.0.next().unwrap_or(Value::Nil)).map_err(RedisError::from)
    }

    /// The end of the only lease in a range, if there is one.
    fn next_end(&mut self) -> RedisResult<Option<u64>> {
        let range: Vec<(Value, f64)> = self.next()?;
        Ok(range.first().map(|(_, end)| *end as u64))
    }
}
