//! One running copy of a service, as it is registered, stored and found.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::DRAIN;
use super::{Error, ErrorKind, InstanceId, Result, limits};

/// One running copy of a service: its id, the service's name, its URL, and metadata.
///
/// Identity is the [id](Instance::id) alone; equality compares everything.
///
/// ```
/// use gosd_core::Instance;
///
/// let instance = Instance::new("mail", "http://10.0.0.7:8885")?.with_metadata("zone", "b");
/// assert_eq!(instance.url(), "http://10.0.0.7:8885");
/// assert_eq!(instance.metadata()["zone"], "b");
/// # Ok::<(), gosd_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    id: InstanceId,
    service: Arc<str>,
    url: Box<str>,
    #[expect(clippy::box_collection, reason = "most have none, and a cache holds many instances")]
    metadata: Option<Box<BTreeMap<String, String>>>,
}

static NO_METADATA: BTreeMap<String, String> = BTreeMap::new();

impl Instance {
    /// Makes an instance of a service, with a fresh unique id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the name is not 1 to 128 characters of `A-Z a-z 0-9 . _ -` or starts
    /// with `gosd.`, which is reserved; and if the URL is not absolute with a scheme and a host, is
    /// longer than 2,048 bytes, or is one that nobody else can reach: the hosts `0.0.0.0` and `[::]`,
    /// which stand for all addresses, and the port 0.
    pub fn new(service: &str, url: &str) -> Result<Self> {
        limits::check_service(service)?;
        limits::check_not_reserved(service)?;
        limits::check_url(url)?;
        Ok(Self::from_parts(InstanceId::unique(service), service, url, BTreeMap::new()))
    }

    /// Makes an instance from what a backend holds, without a check.
    pub fn from_parts(
        id: InstanceId,
        service: &str,
        url: &str,
        metadata: BTreeMap<String, String>,
    ) -> Self {
        let metadata = (!metadata.is_empty()).then(|| Box::new(metadata));
        Self { id, service: service.into(), url: url.into(), metadata }
    }

    /// Makes the record that drains an instance. Registered like an instance, it takes that instance out of
    /// every client's rotation until its lease ends.
    ///
    /// It is a separate record, of the service `gosd.drain`, so that no heartbeat of the instance's owner
    /// overwrites it and nobody has to remember to remove it. To end the drain earlier, deregister it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use gosd_core::{Driver, Instance, Memory};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// # let (driver, mail) = (Memory::new(), Instance::new("mail", "http://10.0.0.7:25")?);
    /// let drain = Instance::drain_of(mail.id());
    /// driver.register(&drain, Duration::from_secs(600)).await?;
    /// driver.deregister(drain.id()).await?;
    /// # Ok::<(), gosd_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn drain_of(target: &InstanceId) -> Self {
        Self::from_parts(target.of_drain(), DRAIN, "gosd://drain", BTreeMap::new())
    }

    /// Adds one entry of metadata, and replaces one with the same key.
    ///
    /// The limits (32 keys, 8 KiB in all, no NUL) are checked when the instance is registered.
    #[must_use]
    pub fn with_metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    /// The id, unique in the namespace.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The URL at which the instance is reached.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of something that this instance serves: a path and a query, below its own base path.
    ///
    /// A query or fragment of the instance's own URL is left out, and between the two paths there is
    /// one slash. An empty path is the instance's own.
    ///
    /// ```
    /// use gosd_core::Instance;
    ///
    /// let orders = Instance::new("orders", "http://10.0.0.7:8885/api/")?;
    /// assert_eq!(orders.url_with("/7?full=yes"), "http://10.0.0.7:8885/api/7?full=yes");
    /// assert_eq!(orders.url_with("?full=yes"), "http://10.0.0.7:8885/api/?full=yes");
    /// # Ok::<(), gosd_core::Error>(())
    /// ```
    pub fn url_with(&self, path_and_query: &str) -> String {
        let base = self.url.split(['?', '#']).next().unwrap_or_default();
        if path_and_query.is_empty() || path_and_query.starts_with(['?', '#']) {
            return format!("{base}{path_and_query}");
        }
        let path = path_and_query.strip_prefix('/').unwrap_or(path_and_query);
        format!("{}/{path}", base.strip_suffix('/').unwrap_or(base))
    }

    /// The metadata of the instance.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.metadata.as_deref().unwrap_or(&NO_METADATA)
    }

    /// Checks every part by the rules for what may be registered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], naming the value and the rule.
    pub fn check(&self) -> Result<()> {
        limits::check_id(self.id.as_str())?;
        limits::check_service(&self.service)?;
        limits::check_url(&self.url)?;
        limits::check_metadata(self.metadata())
    }

    /// The JSON of the instance: `{"id","service","url","metadata"}`.
    pub fn to_json(&self) -> String {
        let json = Json {
            id: self.id.as_str().into(),
            service: self.service().into(),
            url: self.url().into(),
            metadata: Cow::Borrowed(self.metadata()),
        };
        serde_json::to_string(&json).expect("strings and a map of strings always serialize")
    }

    /// Parses the JSON of an instance. The values are not checked, and unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Data`] if the text is not JSON, or a field is missing or of another type.
    pub fn from_json(json: &str) -> Result<Self> {
        let json: Json<'_> = serde_json::from_str(json).map_err(|error| {
            Error::new(ErrorKind::Data, format!("not the JSON of an instance: {error}"))
        })?;
        let metadata = json.metadata.into_owned();
        Ok(Self::from_parts((*json.id).into(), &json.service, &json.url, metadata))
    }
}

/// Methods for the registry cache, which stores the name of a service once.
#[cfg(feature = "client")]
impl Instance {
    /// The name of the service, which all instances of the service share.
    pub(crate) fn shared_service(&self) -> &Arc<str> {
        &self.service
    }

    /// Shares the text of the service's name with the other instances of the service.
    pub(crate) fn intern_service(&mut self, name: &Arc<str>) {
        debug_assert_eq!(self.service, *name);
        self.service = Arc::clone(name);
    }
}

impl Hash for Instance {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// Shows neither the user, password and query of the URL nor the values of the metadata, because the output
/// ends up in logs.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .field("service", &self.service)
            .field("url", &limits::without_secrets(&self.url))
            .field("metadata", &self.metadata().keys())
            .finish()
    }
}

/// The JSON of an instance. It borrows what it can, because a snapshot of a registry is parsed from many of them.
#[derive(Serialize, Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    service: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(default)]
    metadata: Cow<'a, BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_round_trip() {
        let odd = Instance::new("a.b_c-d", "http://[::1]:80/a%2Fb?x=y#z")
            .unwrap()
            .with_metadata("schlüssel \"1\"", "wert\n\u{1f980}");
        assert_eq!(Instance::from_json(&odd.to_json()).unwrap(), odd);
    }

    #[test]
    fn metadata_may_be_left_out_and_unknown_fields_are_ignored() {
        let read = Instance::from_json(r#"{"id":"a-1","service":"a","url":"u","new":[1]}"#);
        assert!(read.unwrap().metadata().is_empty());
    }

    #[test]
    fn debug_shows_no_possible_secret() {
        let url = "http://u:sesame@h:1/a?token=sesame";
        let instance = Instance::new("mail", url).unwrap().with_metadata("key", "sesame");
        let text = format!("{instance:?}");
        assert!(!text.contains("sesame"), "{text}");
        assert!(text.contains("http://***@h:1/a?***") && text.contains("key"), "{text}");
        let too_much = instance.clone().with_metadata("big", &"sesame".repeat(2_000));
        let nul = instance.with_metadata("nul", "sesame\0");
        for error in [too_much, nul].map(|instance| instance.check().unwrap_err()) {
            assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_path_goes_below_the_base() {
        for (base, path, expected) in [
            ("http://h", "/7", "http://h/7"),
            ("http://h/", "/7", "http://h/7"),
            ("http://h/", "7", "http://h/7"),
            ("http://h:1/api", "/7?x=1", "http://h:1/api/7?x=1"),
            ("http://h/api/", "/7#top", "http://h/api/7#top"),
            ("http://h/api//", "//7", "http://h/api///7"),
            ("http://h/api?token=t", "/7", "http://h/api/7"),
            ("http://h/api/?token=t#f", "?x=1", "http://h/api/?x=1"),
            ("http://h#f", "/", "http://h/"),
            ("http://h/api", "", "http://h/api"),
            ("http://u:p@[::1]:1/a%2Fb", "/c%2Fd", "http://u:p@[::1]:1/a%2Fb/c%2Fd"),
        ] {
            let instance = Instance::new("a", base).unwrap();
            assert_eq!(instance.url_with(path), expected, "{base} {path}");
        }
    }

    #[test]
    fn names_of_gosd_itself_are_refused() {
        for name in ["gosd.", "gosd.drain", "gosd.x-y"] {
            let error = Instance::new(name, "http://h").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("reserved"), "{error}");
        }
        for name in ["gosd", "gosd-x", "Gosd.x", "x.gosd."] {
            Instance::new(name, "http://h").unwrap();
        }
    }

    #[test]
    fn a_drain_names_its_target_and_may_be_registered() {
        let target = Instance::new("mail", "http://h").unwrap();
        let drain = Instance::drain_of(target.id());
        drain.check().unwrap();
        assert_eq!(drain.id().as_str(), format!("gosd.drain-{}", target.id()));
    }

    #[test]
    fn damaged_json_is_a_data_error() {
        for text in ["", "null", "{}", "[]", r#"{"id":1,"service":"a","url":"u"}"#] {
            assert_eq!(Instance::from_json(text).unwrap_err().kind(), ErrorKind::Data, "{text}");
        }
    }
}
