//! What the `format` of a text in a schema means: one small check per name.
//!
//! Formats are how a type says more of a text than "string", so that the published schema, the reference page
//! and the checker agree. A format that is not known here is only an annotation.

use crate::units;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a text has the format.
///
/// # Errors
/// What was expected, to follow the word "expected".
pub(super) fn check(format: &str, text: &str) -> Result<(), String> {
    let (good, expected) = match format {
        "uuid" => (is_uuid(text), "a UUID, such as \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\" (`uuidgen` makes one)"),
        "ip" => (text.parse::<IpAddr>().is_ok(), "an IP address, such as \"10.0.7.1\" or \"2001:db8::1\""),
        "ipv4" => (text.parse::<Ipv4Addr>().is_ok(), "an IPv4 address, such as \"10.0.7.1\""),
        "ipv6" => (text.parse::<Ipv6Addr>().is_ok(), "an IPv6 address, such as \"2001:db8::1\""),
        "cidr" => (units::parse_cidr(text).is_some(), "an address and a prefix length, such as \"10.0.7.11/24\""),
        "size" => return bare(units::parse_size(text)),
        "size-range" => return bare(units::parse_range(text)),
        "scrub" => return bare(text.parse::<crate::schema::Scrub>()),
        "utc-time" => return bare(text.parse::<crate::utc::Utc>()),
        "sha256" => (is_hex(text, 64), "a SHA-256 digest: 64 lower-case hexadecimal digits"),
        "mac" => (is_mac(text), "a MAC address, such as \"52:54:00:12:34:56\""),
        "pci" => (is_pci(text), "a PCI address, such as \"3b:00.0\" or \"0000:3b:00.0\""),
        "dns-label" => (
            is_dns_label(text),
            "a DNS label (RFC 1123): lower-case letters, digits and dashes, not at either end, at most 63 characters",
        ),
        "dns-name" => (is_dns_name(text), "a DNS name, such as \"cluster.local\""),
        "host" => (
            text.parse::<IpAddr>().is_ok() || is_dns_name(&text.to_ascii_lowercase()),
            "a host name or an IP address, such as \"ntp1.example.org\"",
        ),
        "https-endpoint" => {
            (is_https_endpoint(text), "an address of the form \"https://host:port\", without path, user or query")
        }
        "label-key" => (is_label_key(text), "a Kubernetes label key, such as \"example.org/rack\""),
        "label-value" => (
            is_label_value(text),
            "a Kubernetes label value: letters, digits, dashes, underscores and dots, a letter or digit at both ends, at most 63 characters",
        ),
        "mount-point" => {
            (is_mount_point(text), "an absolute path without empty, \".\" or \"..\" parts or a slash at its end")
        }
        "interface-pattern" => (
            is_interface_pattern(text),
            "a kernel interface name, `*` and `?` allowed, such as \"eno1\" or \"en*\" (at most 15 characters)",
        ),
        _ => return Ok(()),
    };
    if good { Ok(()) } else { Err(expected.into()) }
}

fn bare<T>(result: Result<T, String>) -> Result<(), String> {
    result.map(drop).map_err(|said| said.trim_start_matches("expected ").to_owned())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.is_ascii() && uuid::Uuid::try_parse(text).is_ok()
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_pci(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let Some((bus, function)) = text.split_once('.') else { return false };
    let bus: Vec<&str> = bus.split(':').collect();
    let bus_good = match bus.as_slice() {
        [bus, device] => hex(bus, 2) && hex(device, 2),
        [domain, bus, device] => hex(domain, 4) && hex(bus, 2) && hex(device, 2),
        _ => false,
    };
    bus_good && function.len() == 1 && matches!(function.as_bytes()[0], b'0'..=b'7')
}

fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn is_https_endpoint(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("https://") else { return false };
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            ("", rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let host_good = (host.is_empty() && authority.starts_with('['))
        || host.parse::<Ipv4Addr>().is_ok()
        || is_dns_name(&host.to_ascii_lowercase());
    let port_good = port
        .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0));
    host_good && port_good
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.is_empty()
        || (bytes.len() <= 63
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric))
}

fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_dns_name) && !name.is_empty() && is_label_value(name)
}

fn is_mount_point(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|rest| {
        !rest.is_empty()
            && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !rest.chars().any(|c| c.is_control() || c.is_whitespace())
    })
}

fn is_interface_pattern(text: &str) -> bool {
    (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn each_format_takes_the_good_and_refuses_the_bad() {
        for (format, good, bad) in [
            ("uuid", "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11", "0d4f7c1e8a524c0e9b1f2f6f0c7e5a11"),
            ("ip", "2001:db8::1", "10.0.0.256"),
            ("cidr", "10.0.7.11/24", "10.0.7.11/33"),
            ("cidr", "2001:db8::1/64", "10.0.7.11"),
            ("size", "1 TiB", "1 parsec"),
            ("size-range", "1 TB ..", "2 TB .. 1 TB"),
            ("scrub", "30 days", "1 month"),
            ("mac", "52:54:00:aB:34:56", "52-54-00-12-34-56"),
            ("pci", "0000:3b:00.0", "3b:00.8"),
            ("dns-label", "rack-7", "-rack"),
            ("dns-label", "n1", "N1"),
            ("https-endpoint", "https://10.0.2.2:6443", "http://10.0.2.2:6443"),
            ("https-endpoint", "https://[2001:db8::1]:6443", "https://api.example.org"),
            ("https-endpoint", "https://api.example.org:6443", "https://me@api.example.org:6443"),
            ("https-endpoint", "https://a:1", "https://:6443"),
            ("label-key", "example.org/rack", "example.org/"),
            ("label-value", "", "ends-with-"),
            ("mount-point", "/var/lib/volumes/{serial}", "/var/../etc"),
            ("interface-pattern", "en*", "en/0"),
            ("host", "ntp1.example.org", "ntp 1"),
        ] {
            assert_eq!(check(format, good), Ok(()), "{format} {good:?}");
            assert!(check(format, bad).is_err(), "{format} {bad:?}");
        }
    }
}
