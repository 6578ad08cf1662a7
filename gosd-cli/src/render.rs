//! The list of instances in the formats of other programs.
//!
//! Registered values must not change the configuration. An instance whose host, port or name contains other
//! characters than those of plain ones is left out, and reported.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gosd::{Instance, limits};

use crate::cli::Format;
use crate::record::{InstanceLine, line};
use crate::target::{authority, target};

/// A list as text, and the instances that the format cannot express.
pub(crate) struct Rendered<'a> {
    pub(crate) text: String,
    pub(crate) left_out: Vec<&'a Instance>,
}

/// Renders the instances. A service that was asked for is in the text even if it has no instance.
pub(crate) fn render<'a>(
    format: Format,
    service: Option<&'a str>,
    instances: &'a [Instance],
) -> Rendered<'a> {
    if format == Format::Json {
        let text = instances.iter().map(|it| line(&InstanceLine::new(it))).collect();
        return Rendered { text, left_out: Vec::new() };
    }
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let name_of = |service: &str| match format {
        Format::Env => variable(service),
        _ => service.to_owned(),
    };
    if let Some(service) = service.filter(|service| limits::check_service(service).is_ok()) {
        services.entry(name_of(service)).or_default();
    }
    let mut left_out = Vec::new();
    for instance in instances {
        let entry = match format {
            Format::Env => Some(instance.url()).filter(|url| is_one_word(url)).map(str::to_owned),
            Format::Nginx => address(instance).map(|at| format!("    server {at};\n")),
            _ => address(instance).map(|at| haproxy_server(instance, &at)),
        };
        match entry.filter(|_| limits::check_service(instance.service()).is_ok()) {
            Some(entry) => services.entry(name_of(instance.service())).or_default().push(entry),
            None => left_out.push(instance),
        }
    }
    let mut text = String::new();
    for (name, entries) in services {
        let _ = match format {
            Format::Env => writeln!(text, "{name}={}", quoted(&entries.join(" "))),
            // nginx refuses to start with an upstream that has no server.
            Format::Nginx if entries.is_empty() => {
                writeln!(text, "upstream {name} {{\n    server 127.0.0.1:9 down;\n}}")
            }
            Format::Nginx => writeln!(text, "upstream {name} {{\n{}}}", entries.concat()),
            _ => writeln!(text, "backend {name}\n{}", entries.concat()),
        };
    }
    Rendered { text, left_out }
}

/// The host and port of an instance, if they consist of plain characters.
fn address(instance: &Instance) -> Option<String> {
    let target = target(instance.url())?;
    let is_name = |host: &str| {
        !host.is_empty()
            && !host.starts_with('-')
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    let is_plain = is_name(target.host) || target.host.parse::<std::net::Ipv6Addr>().is_ok();
    (is_plain && target.port != 0).then(|| authority(target.host, target.port))
}

/// A server line for haproxy. haproxy would refuse to start if it could not look a name up, so such a server
/// is marked as down.
fn haproxy_server(instance: &Instance, address: &str) -> String {
    let is_literal = address.parse::<std::net::SocketAddr>().is_ok();
    let lookup = if is_literal { "" } else { " init-addr last,libc,none" };
    format!("    server {} {address} check{lookup}\n", word(instance.id().as_str()))
}

fn is_one_word(url: &str) -> bool {
    !url.contains(|char: char| char.is_whitespace() || char.is_control())
}

/// The variable of a service: `mail-out` is `MAIL_OUT_URLS`.
fn variable(service: &str) -> String {
    let word = word(service).replace(['.', '-'], "_").to_ascii_uppercase();
    let digit = if word.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" };
    format!("{digit}{word}_URLS")
}

/// The text with only its letters, digits and `. _ -`.
fn word(text: &str) -> String {
    let is_fine = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    text.chars().map(|char| if is_fine(char) { char } else { '_' }).collect()
}

/// The text quoted for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use gosd::InstanceId;

    use super::*;

    fn instances() -> Vec<Instance> {
        let of = |id: &str, service, url| {
            Instance::from_parts(InstanceId::from(id), service, url, [].into())
        };
        vec![
            of("mail-1", "mail", "http://10.0.0.7:25/api"),
            of("mail 2;", "mail", "https://u:p@[fd00::1]"),
            of("9-x-1", "9-x", "tcp://it's.a.trap:1"),
            of("bad-1", "bad;name", "http://h"),
            of("bad-2", "bad", "http://h;}:80"),
            of("bad-3", "bad", "http://h:80\n}"),
            of("bad-4", "bad", "amqp://h"),
        ]
    }

    fn rendered(format: Format) -> (String, usize) {
        let instances = instances();
        let rendered = render(format, Some("none"), &instances);
        (rendered.text, rendered.left_out.len())
    }

    #[test]
    fn registered_values_cannot_change_the_configuration() {
        assert_eq!(
            rendered(Format::Nginx),
            (
                "upstream mail {\n    server 10.0.0.7:25;\n    server [fd00::1]:443;\n}\n\
                 upstream none {\n    server 127.0.0.1:9 down;\n}\n"
                    .into(),
                5
            )
        );
        assert_eq!(
            rendered(Format::Haproxy),
            (
                "backend mail\n    server mail-1 10.0.0.7:25 check\n    \
                 server mail_2_ [fd00::1]:443 check\n\nbackend none\n\n"
                    .into(),
                5
            )
        );
    }

    #[test]
    fn a_shell_reads_the_variables_unchanged() {
        assert_eq!(
            rendered(Format::Env),
            (
                "BAD_URLS='http://h;}:80 amqp://h'\n\
                 MAIL_URLS='http://10.0.0.7:25/api https://u:p@[fd00::1]'\n\
                 NONE_URLS=''\n_9_X_URLS='tcp://it'\\''s.a.trap:1'\n"
                    .into(),
                2
            )
        );
    }
}
