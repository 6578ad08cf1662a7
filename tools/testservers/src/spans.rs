//! Collects the tracing spans of a test, with their fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::ops::Deref;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The fields of a span, as text.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    all: BTreeMap<String, String>,
    numbers: BTreeSet<String>,
}

impl Fields {
    /// Whether a field is a number, and not text that looks like one.
    pub fn is_number(&self, name: &str) -> bool {
        self.numbers.contains(name)
    }
}

impl Deref for Fields {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

/// All spans of the process that have ended.
static ENDED: Mutex<Vec<Fields>> = Mutex::new(Vec::new());

/// Collects the spans of the process from now on.
pub fn collect_spans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Collector);
        tracing::subscriber::set_global_default(subscriber).expect("there is no other collector");
    });
}

/// The spans that have ended and whose field `server.port` is this.
pub fn spans_to(port: u16) -> Vec<Fields> {
    let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let port = port.to_string();
    ended.iter().filter(|span| span.get("server.port") == Some(&port)).cloned().collect()
}

struct Collector;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut Into(&mut fields));
        context.span(id).expect("it is new").extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("it has not ended");
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(&mut Into(fields));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).expect("it ends now");
        let fields = span.extensions_mut().remove::<Fields>();
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).extend(fields);
    }
}

struct Into<'a>(&'a mut Fields);

impl Into<'_> {
    fn number(&mut self, field: &Field, value: impl Display) {
        self.0.all.insert(field.name().into(), value.to_string());
        self.0.numbers.insert(field.name().into());
    }
}

impl Visit for Into<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.all.insert(field.name().into(), format!("{value:?}").trim_matches('"').into());
    }
}
