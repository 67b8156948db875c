//! Weights that have names: torchvision's, by network and set of weights, and those of open-mmlab's hub. The tables are data
//! beside this file, which `make.py` wrote; nothing here asks a server.

use crate::source::error::FetchError;
use crate::{Error, Result};

static TORCHVISION: &str = include_str!("torchvision.tsv");
static OPEN_MMLAB: &str = include_str!("open_mmlab.tsv");

/// A set of weights of torchvision's: a member of one of its enums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Weights {
    /// The network, as `torchvision.models` calls it: `resnet18`.
    pub network: &'static str,
    /// The enum: `ResNet18_Weights`.
    pub of: &'static str,
    /// The member: `IMAGENET1K_V1`.
    pub name: &'static str,
    /// Where the file is.
    pub url: &'static str,
    /// The class of torchvision's transforms, which says what it is for: `ImageClassification`, `ObjectDetection`, ...
    pub task: &'static str,
    /// How many classes it tells; `None` where it tells none.
    pub classes: Option<usize>,
    /// How pictures are prepared for it; `None` where it does not classify pictures.
    pub preset: Option<Preset>,
    /// Whether the network's name alone means it: what torchvision called `pretrained=True` and mmcv `torchvision://NAME`.
    pub is_bare: bool,
    /// Whether it is torchvision's `DEFAULT`: the best there is.
    pub is_default: bool,
}

/// The numbers of torchvision's `ImageClassification` preset, as it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// How long the shorter side becomes: `256`.
    pub resize: &'static str,
    /// The side of the middle that is taken: `224`.
    pub crop: &'static str,
    /// `bilinear` or `bicubic`.
    pub interpolation: &'static str,
    /// What is taken off each channel: `0.485,0.456,0.406`.
    pub mean: &'static str,
    /// By what each is then divided.
    pub std: &'static str,
}

impl Weights {
    /// What its hash begins with, where the file's name says so.
    #[must_use]
    pub fn hash_prefix(&self) -> Option<&'static str> {
        super::name::hash_prefix(super::name::of_url(self.url))
    }

    fn of_row(row: &'static str) -> Option<Self> {
        let mut columns = row.split('\t');
        let mut next = || columns.next();
        let (network, of, name, marks, url, task, classes) =
            (next()?, next()?, next()?, next()?, next()?, next()?, next()?);
        let (resize, crop, interpolation, mean, std) = (next()?, next()?, next()?, next()?, next()?);
        let marked = |mark: &str| marks.split(',').any(|one| one == mark);
        Some(Weights {
            network,
            of,
            name,
            url,
            task,
            classes: classes.parse().ok(),
            preset: (resize != "-").then_some(Preset { resize, crop, interpolation, mean, std }),
            is_bare: marked("bare"),
            is_default: marked("default"),
        })
    }
}

/// The rows of a table, without what is said of it.
fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#'))
}

/// All weights of torchvision's (0.29.2), in its order: of each network, one after the other.
pub fn torchvision() -> impl Iterator<Item = Weights> {
    rows(TORCHVISION).filter_map(Weights::of_row)
}

/// The weights of torchvision's that a name means: `resnet50` (what mmcv and `pretrained=True` mean by it),
/// `resnet50/IMAGENET1K_V2`, `resnet50/DEFAULT`, mmengine's `resnet50.imagenet1k_v2`, and `ResNet50_Weights.IMAGENET1K_V2`.
///
/// # Errors
/// [`FetchError::UnknownName`] with the nearest name there is.
pub fn torchvision_weights(name: &str) -> Result<Weights> {
    let (of, set) = name.split_once(['/', '.']).map_or((name, None), |(of, set)| (of, Some(set)));
    let is_of = |row: &Weights| row.network == of || row.of == of;
    let is_set = |row: &Weights| match set {
        None => row.is_bare,
        Some(set) if set.eq_ignore_ascii_case("default") => row.is_default,
        Some(set) => row.name.eq_ignore_ascii_case(set),
    };
    if let Some(found) = torchvision().find(|row| is_of(row) && is_set(row)) {
        return Ok(found);
    }
    let of_network: Vec<&str> = torchvision().filter(is_of).map(|row| row.name).collect();
    if !of_network.is_empty() {
        let error = unknown("torchvision", name);
        return Err(error.advise(format!("its weights are {}, and DEFAULT", of_network.join(", "))));
    }
    Err(nearest("torchvision", name, torchvision().map(|row| row.network)))
}

/// Where the file of this name is: `torchvision://`, `open-mmlab://` or `mmcls://` goes before it.
///
/// # Errors
/// [`FetchError::UnknownName`] with the nearest name there is.
pub(crate) fn url(scheme: &'static str, name: &str) -> Result<&'static str> {
    // A name that became another leads to that one; no row leads further.
    let mut name = name;
    for _ in 0..2 {
        match open_mmlab(scheme).find(|(known, _)| *known == name) {
            Some((_, target)) => match target.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) {
                Some(other) => name = other,
                None => return Ok(target),
            },
            None if scheme == "torchvision" => return torchvision_weights(name).map(|weights| weights.url),
            None => break,
        }
    }
    Err(nearest(scheme, name, open_mmlab(scheme).map(|(known, _)| known)))
}

/// The names of open-mmlab's hub with this scheme, and where they lead.
fn open_mmlab(scheme: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let row = move |row: &'static str| row.strip_prefix(scheme)?.strip_prefix('\t')?.split_once('\t');
    rows(OPEN_MMLAB).filter_map(row)
}

fn unknown(scheme: &str, name: &str) -> Error {
    FetchError::UnknownName { scheme: scheme.to_owned(), name: name.to_owned() }.into()
}

fn nearest<'a>(scheme: &str, name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let score = |known: &str| strsim::jaro_winkler(known, name);
    let near = names.max_by(|a, b| score(a).total_cmp(&score(b))).filter(|known| score(known) > 0.8);
    let error = unknown(scheme, name);
    match near {
        Some(near) => error.advise(format!("did you mean '{near}'?")),
        None => error.advise(format!("give the file's own address (https://..) where '{name}' is no such name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_tables_is_read_and_every_network_has_one_bare_name_and_one_default() {
        let all: Vec<Weights> = torchvision().collect();
        assert_eq!(all.len(), rows(TORCHVISION).count());
        for row in &all {
            let of = |mark: fn(&Weights) -> bool| all.iter().filter(|w| w.network == row.network && mark(w)).count();
            assert_eq!((of(|w| w.is_bare), of(|w| w.is_default)), (1, 1), "{}", row.network);
            assert!(row.url.starts_with("https://"), "{}", row.url);
        }
        for scheme in ["open-mmlab", "mmcls", "torchvision"] {
            for (name, target) in open_mmlab(scheme) {
                // One name of mmengine's own leads to one that is not there any more.
                let gone = target.contains("_caffe_bgr");
                assert_eq!(url(scheme, name).is_ok_and(|url| url.starts_with("https://")), !gone, "{name}");
            }
        }
        assert_eq!(rows(OPEN_MMLAB).count(), 112);
    }

    #[test]
    fn a_networks_name_alone_means_what_it_always_meant_and_default_the_best() {
        let hash = |name: &str| torchvision_weights(name).unwrap().hash_prefix().unwrap();
        assert_eq!(hash("resnet18"), "f37072fd");
        assert_eq!(hash("resnet50"), "0676ba61");
        assert_eq!(hash("resnet50/IMAGENET1K_V1"), "0676ba61");
        for name in ["resnet50/DEFAULT", "resnet50.default", "resnet50.imagenet1k_v2", "ResNet50_Weights.IMAGENET1K_V2"]
        {
            assert_eq!(hash(name), "11ad3fa6", "{name}");
        }
        let vit = torchvision_weights("vit_b_16/IMAGENET1K_SWAG_E2E_V1").unwrap();
        assert_eq!((vit.classes, vit.preset.unwrap().crop), (Some(1000), "384"));
    }

    #[test]
    fn a_name_that_is_not_there_is_said_with_the_nearest() {
        let said = |name: &str| torchvision_weights(name).unwrap_err().to_string();
        assert_eq!(said("resnet81"), "torchvision:// knows no weights 'resnet81'; did you mean 'resnet18'?");
        let sets = said("resnet50/IMAGENET21K");
        assert!(sets.ends_with("its weights are IMAGENET1K_V1, IMAGENET1K_V2, and DEFAULT"), "{sets}");
    }
}
