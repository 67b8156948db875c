//! Pictures: what Pillow reads, and what torchvision's transforms make of it (tests/fixtures/sections/images.py).

use rekindle_models::image::{ImageTransform, Interpolation, Picture};
use rekindle_testing::fixtures::{floats, json, path, sha256, size, sizes};
use serde_json::Value as Json;

fn cases(kind: &str) -> Vec<Json> {
    json("images/truth.json")[kind].as_array().unwrap().clone()
}

fn open(case: &Json) -> Picture {
    Picture::open(path("images").join(case["file"].as_str().unwrap())).unwrap()
}

fn interpolation(case: &Json) -> Interpolation {
    if case["interpolation"] == "bicubic" { Interpolation::Bicubic } else { Interpolation::Bilinear }
}

#[test]
fn files_without_loss_are_the_pixels_that_pillow_reads() {
    let cases: Vec<Json> = cases("pictures").into_iter().filter(|case| case.get("pixels").is_none()).collect();
    assert!(cases.len() >= 16, "{}", cases.len());
    for case in cases {
        let picture = open(&case);
        assert_eq!((picture.height(), picture.width()), (size(&case["height"]), size(&case["width"])), "{case}");
        assert_eq!(Picture::size(path("images").join(case["file"].as_str().unwrap())).unwrap().0, picture.width());
        assert_eq!(sha256(picture.pixels()), case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn jpeg_is_what_pillow_reads_but_for_a_few_levels() {
    let cases: Vec<Json> = cases("pictures").into_iter().filter(|case| case.get("pixels").is_some()).collect();
    assert!(cases.len() >= 6, "{}", cases.len());
    for case in cases {
        let own = open(&case);
        let theirs = Picture::open(path("images").join(case["pixels"].as_str().unwrap())).unwrap();
        assert_eq!((own.height(), own.width()), (theirs.height(), theirs.width()), "{case}");
        let apart: Vec<u8> = own.pixels().iter().zip(theirs.pixels()).map(|(a, b)| a.abs_diff(*b)).collect();
        let most = *apart.iter().max().unwrap();
        let mean =
            apart.iter().map(|&level| f64::from(level)).sum::<f64>() / f64::from(u32::try_from(apart.len()).unwrap());
        println!("{}: at most {most}, {mean:.4} on average", case["file"]);
        assert!(most <= 3 && mean < 0.5, "{}: at most {most}, {mean} on average", case["file"]);
    }
}

#[test]
fn pictures_are_resized_bit_for_bit_as_pillow_does() {
    let cases = cases("resized");
    assert!(cases.len() >= 50);
    for case in cases {
        let (width, height) = (size(&case["width"]), size(&case["height"]));
        let resized = open(&case).resized(width, height, interpolation(&case)).unwrap();
        assert_eq!(sha256(resized.pixels()), case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn transforms_give_the_bits_of_torchvisions() {
    for case in cases("transformed") {
        let mut transform = match case["preset"].as_str() {
            Some(name) => ImageTransform::preset(name).unwrap(),
            None => ImageTransform::default().interpolation(interpolation(&case)),
        };
        if case.get("resize").is_some() {
            transform = transform.resize(size(&case["resize"]));
        }
        if case.get("crop").is_some() {
            transform = transform.crop(size(&case["crop"]));
        }
        if case.get("mean").is_some() {
            transform = transform.mean(floats(&case["mean"])).std(floats(&case["std"]));
        }
        let found = transform.grey(case["grey"] == true).apply(&open(&case)).unwrap();
        assert_eq!(found.shape().as_slice(), sizes(&case["shape"]), "{case}");
        let bytes: Vec<u8> = found.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        assert_eq!(sha256(&bytes), case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn what_is_no_picture_or_no_size_is_said() {
    let said = |name: &str| Picture::open(path("images").join(name)).unwrap_err().to_string();
    assert!(said("no-picture.png").contains("it is no picture that can be read"), "{}", said("no-picture.png"));
    assert!(said("labels.txt").contains("it is none of them"), "{}", said("labels.txt"));
    assert!(said("nowhere.png").contains("cannot be read"), "{}", said("nowhere.png"));
    assert!(Picture::size(path("images")).unwrap_err().to_string().contains("a folder"));
    let picture = Picture::open(path("images/small.png")).unwrap();
    for transform in [
        ImageTransform::default().resize(0),
        ImageTransform::default().resize(1 << 40),
        ImageTransform::default().crop((4, 0)),
        ImageTransform::default().crop(1 << 20),
        ImageTransform::default().mean([0.5, 0.5]),
        ImageTransform::default().std([0.5, 0.0, 0.5]),
        ImageTransform::default().grey(true).mean([0.5, 0.5, 0.5]),
    ] {
        assert!(transform.apply(&picture).is_err(), "{transform:?}");
    }
    let other = Picture::open(path("images/tall.png")).unwrap();
    let said = ImageTransform::default().batch(&[picture.clone(), other.clone()]).unwrap_err().to_string();
    assert!(said.contains("picture 1") && said.contains("20 x 61"), "{said}");
    let batch = ImageTransform::imagenet().batch(&[picture, other]).unwrap();
    assert_eq!(batch.shape().as_slice(), [2, 3, 224, 224]);
}
