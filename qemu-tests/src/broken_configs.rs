//! Ten ways in which a configuration can be broken, and the code that the node's page must show for each.

use anyhow::{Result, ensure};
use machine_config::signature::{self, PrivateKey};

/// A broken configuration.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What is wrong with it.
    pub what: &'static str,
    /// The code on the page.
    pub code: &'static str,
    /// Its text.
    pub text: String,
}

/// Ten of them, made from a good site file whose machine n1 has the serial number BEDPLATE-N1, and signed by `sign`
/// where the signature is not what is broken.
///
/// # Errors
/// Those of `sign`, and when the site file is not as said.
pub fn ten(site: &str, sign: impl Fn(&str) -> Result<String>) -> Result<Vec<Broken>> {
    let stranger = PrivateKey::from_seed(&[7; 32], "stranger")?;
    let signed = sign(site)?;
    let changed = |from: &str, to: &str| {
        ensure!(site.contains(from), "the site file has no {from:?}");
        sign(&site.replacen(from, to, 1))
    };
    let broken = |what, code, text: String| Broken { what, code, text };
    Ok(vec![
        broken("not signed", "BP-C070", site.to_owned()),
        broken("signed by a stranger", "BP-C071", signature::sign(site, &stranger)),
        broken("altered after signing", "BP-C072", signed.replacen("\"demo\"", "\"Demo\"", 1)),
        broken("cut off in its signature", "BP-C074", signed[..signed.len() - 20].to_owned()),
        broken("not TOML", "BP-C001", changed("revision = 1", "revision = = 1")?),
        broken("an unknown key", "BP-C002", changed("revision = 1", "revision = 1\ncolour = \"blue\"")?),
        broken("a missing key", "BP-C003", changed("name = \"demo\"", "")?),
        broken("a wrong type", "BP-C004", changed("revision = 1", "revision = \"one\"")?),
        broken("of a later format", "BP-C007", changed("format = 1", "format = 9")?),
        broken("for another machine", "BP-C060", changed("BEDPLATE-N1", "BEDPLATE-N2")?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine_config::delivered;
    use machine_config::identity::Facts;

    #[test]
    fn each_is_refused_with_its_code_and_the_good_one_is_not() {
        let key = PrivateKey::from_seed(&[1; 32], "config").unwrap();
        let site = crate::site::one_node("https://10.0.2.2:40001").unwrap();
        let facts = Facts { serial: Some("BEDPLATE-N1".into()), ..Facts::default() };
        let codes = |text: &str| -> Vec<String> {
            let opened = delivered::open(text, "stick", &[key.public()]).and_then(|d| d.machine_config(&facts));
            opened.err().unwrap_or_default().into_iter().map(|f| f.code).collect()
        };
        assert_eq!(codes(&signature::sign(&site, &key)), Vec::<String>::new());
        let ten = ten(&site, |text| Ok(signature::sign(text, &key))).unwrap();
        assert_eq!(ten.len(), 10);
        for broken in ten {
            assert!(
                codes(&broken.text).contains(&broken.code.to_owned()),
                "{}: {:?}",
                broken.what,
                codes(&broken.text)
            );
        }
    }
}
