//! The list of instances in the formats of other programs.
//!
//! Registered values must not change the configuration. An instance whose host, port or name contains other
//! characters than those of plain ones is left out, and reported. So are all but the first of those that
//! would have the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use gosd::{Instance, limits};

use crate::cli::Format;
use crate::record::{InstanceLine, line};
use crate::target::target;

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
    // The services by what has to differ between them: the variable, or the name as nginx compares it.
    let mut services: BTreeMap<String, (&str, Vec<String>)> = BTreeMap::new();
    let key_of = |service: &str| match format {
        Format::Env => variable(service),
        Format::Nginx => service.to_ascii_lowercase(),
        _ => service.to_owned(),
    };
    if let Some(service) = service.filter(|service| limits::check_service(service).is_ok()) {
        services.insert(key_of(service), (service, Vec::new()));
    }
    let mut servers = BTreeSet::new();
    let mut left_out = Vec::new();
    for instance in instances {
        let service = instance.service();
        let entry = match format {
            Format::Env => Some(instance.url()).filter(|url| is_one_word(url)).map(str::to_owned),
            Format::Nginx => address(instance).map(|at| format!("    server {at};\n")),
            _ => address(instance)
                .filter(|_| servers.insert((service, word(instance.id().as_str()))))
                .map(|at| haproxy_server(instance, &at)),
        };
        let Some(entry) = entry.filter(|_| limits::check_service(service).is_ok()) else {
            left_out.push(instance);
            continue;
        };
        match services.entry(key_of(service)).or_insert((service, Vec::new())) {
            (first, entries) if *first == service => entries.push(entry),
            _ => left_out.push(instance),
        }
    }
    let mut text = String::new();
    for (key, (service, entries)) in services {
        let name = if format == Format::Env { &*key } else { service };
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
    (is_plain && target.port != 0).then(|| limits::join_host(target.host, target.port))
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

    /// What each format makes of names that differ only where it does not tell them apart.
    #[test]
    fn the_later_of_two_with_one_name_is_left_out() {
        let of = |id: &str, service, url| {
            Instance::from_parts(InstanceId::from(id), service, url, [].into())
        };
        let instances = [
            of("Mail-out-1", "Mail-out", "http://a"),
            of("mail-out-1", "mail-out", "http://b"),
            of("mail.out-1", "mail.out", "http://c"),
            of("mail.out-2;", "mail.out", "http://d"),
            of("mail.out-2_", "mail.out", "http://e"),
            of("other-2_", "other", "http://f"),
        ];
        for (format, all_that_stay, left_out) in [
            (Format::Env, "a f", "b c d e"),
            (Format::Nginx, "a c d e f", "b"),
            (Format::Haproxy, "a b c d f", "e"),
        ] {
            let rendered = render(format, None, &instances);
            for host in all_that_stay.split(' ') {
                let is_there = [format!(" {host}:80"), format!("http://{host}'")];
                assert!(is_there.iter().any(|it| rendered.text.contains(it)), "{}", rendered.text);
            }
            let urls: Vec<_> =
                rendered.left_out.iter().map(|it| it.url().trim_start_matches("http://")).collect();
            assert_eq!(urls.join(" "), left_out, "{}", rendered.text);
        }
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
