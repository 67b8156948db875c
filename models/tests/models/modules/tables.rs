//! All tables of layers.

use super::harness::Checked;
use super::{edges, layers, sequences, variants};

pub(crate) fn all(checked: &mut Checked) {
    layers::linear_and_convolutions(checked);
    layers::norms(checked);
    layers::activations(checked);
    layers::pools(checked);
    layers::losses(checked);
    sequences::embeddings(checked);
    sequences::recurrent(checked);
    sequences::attention(checked);
    variants::convolutions(checked);
    variants::norms(checked);
    variants::activations(checked);
    variants::pools(checked);
    variants::distances(checked);
    variants::embeddings(checked);
    variants::recurrent(checked);
    variants::attention(checked);
    variants::transformers(checked);
    variants::losses(checked);
    edges::convolutions(checked);
    edges::norms(checked);
    edges::pools(checked);
    edges::lazy(checked);
    edges::sequences(checked);
    edges::losses(checked);
}
