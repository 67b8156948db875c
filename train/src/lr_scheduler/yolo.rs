//! The schedules of `YOLOv5` and ultralytics: each a [`LambdaLR`] over epochs, with its function.

use std::f64::consts::PI;

use super::formula::real;
use super::lambda_lr::LambdaLR;

/// `YOLOv5`'s `one_cycle(1, lrf, epochs)`, its `--cos-lr`: half a cosine wave down to `lrf` of the learning rate.
#[must_use]
pub fn one_cycle(lrf: f64, epochs: i64) -> LambdaLR {
    LambdaLR::new(move |epoch| ((1.0 - (real(epoch) * PI / real(epochs)).cos()) / 2.0) * (lrf - 1.0) + 1.0)
}

/// `YOLOv5`'s default: a straight line down to `lrf` of the learning rate, and on beyond.
#[must_use]
pub fn linear(lrf: f64, epochs: i64) -> LambdaLR {
    LambdaLR::new(move |epoch| (1.0 - real(epoch) / real(epochs)) * (1.0 - lrf) + lrf)
}

/// ultralytics' default: as [`linear`], and `lrf` from its end on.
#[must_use]
pub fn linear_to_end(lrf: f64, epochs: i64) -> LambdaLR {
    LambdaLR::new(move |epoch| {
        let left = 1.0 - real(epoch) / real(epochs);
        (if 0.0 > left { 0.0 } else { left }) * (1.0 - lrf) + lrf
    })
}
