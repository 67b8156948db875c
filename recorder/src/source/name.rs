//! The names of files in addresses: the last part of the path, and the hash that it may hold.

/// What torch.hub calls a file of this address: what stands behind the last `/` of its path, as it is.
pub(crate) fn of_url(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split_once("://").map_or(path, |(_, rest)| rest).rsplit_once('/').map_or("", |(_, name)| name)
}

/// What the SHA-256 of a file begins with, where its name says so as torch.hub's do: `resnet18-f37072fd.pth`. Eight hexadecimal
/// digits at least, between a dash and the next dot; a date (`-20210831.`) is none.
pub(crate) fn hash_prefix(name: &str) -> Option<&str> {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    name.match_indices('-').find_map(|(at, _)| {
        let hash = name.get(at + 1..)?.split_once('.')?.0;
        (hash.len() >= 8 && hash.len() <= 64 && hash.chars().all(is_hex) && !is_date(hash)).then_some(hash)
    })
}

/// Whether it is a day of these years: of hashes of eight digits, one in a million looks like that.
fn is_date(digits: &str) -> bool {
    let number = |range: std::ops::Range<usize>| digits.get(range).and_then(|part| part.parse::<u32>().ok());
    let within = |range, from, to| number(range).is_some_and(|n| (from..=to).contains(&n));
    digits.len() == 8 && within(0..4, 2010, 2099) && within(4..6, 1, 12) && within(6..8, 1, 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_stands_between_a_dash_and_a_dot() {
        for (name, hash) in [
            ("resnet18-f37072fd.pth", Some("f37072fd")),
            ("shufflenetv2_x1-5666bf0f80.pth", Some("5666bf0f80")),
            ("deeplabv3_resnet50_coco-cd0a2569.pth.tar", Some("cd0a2569")),
            ("a-b-0676ba61.pth", Some("0676ba61")),
            ("model-20210831.pth", None),
            ("vit-base-p16_20210831-ea4938fc.pth", Some("ea4938fc")),
            ("resnet18_fbgemm_16fa66dd.pth", None),
            ("pytorch-model.bin", None),
            ("model-0123456.pt", None),
            ("model-00001-of-00002.safetensors", None),
            ("f37072fd", None),
        ] {
            assert_eq!(hash_prefix(name), hash, "{name}");
        }
    }

    #[test]
    fn a_files_name_is_the_last_part_of_its_path() {
        for (url, name) in [
            ("https://host/models/a.pth", "a.pth"),
            ("https://host/a%20b.pth?token=x/y#z", "a%20b.pth"),
            ("https://host/models/", ""),
            ("https://host", ""),
            ("https://host?x=/a", ""),
        ] {
            assert_eq!(of_url(url), name, "{url}");
        }
    }
}
