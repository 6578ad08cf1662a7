//! Collects the tracing spans of a test, with their fields.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The fields of a span, as text.
pub type Fields = BTreeMap<String, String>;

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
        let mut fields = Fields::new();
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

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").trim_matches('"').into());
    }
}
