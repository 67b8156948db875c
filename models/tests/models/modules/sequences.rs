//! Embeddings, recurrent layers, attention, transformers.

use burn::tensor::{Int, Tensor};
use rekindle_models::functional::Array;
use rekindle_models::init::Init;
use rekindle_models::nn::*;

use super::harness::{Checked, Inputs};

type Outputs = rekindle_models::Result<Vec<Array>>;

fn float<const D: usize>(tensor: Tensor<D>) -> Array {
    Array::from_float(tensor)
}

pub(crate) fn embeddings(c: &mut Checked) {
    let rows = |layer: &Embedding, i: &Inputs| Ok(vec![float(layer.forward::<2, 3>(i.int(0))?)]);
    c.case("embedding", |init| EmbeddingConfig::new(7, 3).init(init), rows);
    c.case("embedding_padding", |init| EmbeddingConfig::new(7, 3).with_padding_idx(Some(2)).init(init), rows);
    c.case(
        "embedding_max_norm",
        |init| EmbeddingConfig::new(7, 3).with_max_norm(Some(1.0)).with_norm_type(1.5).init(init),
        rows,
    );
    c.case(
        "embedding_bag",
        |init| EmbeddingBagConfig::new(7, 3).init(init),
        |layer, i| Ok(vec![float(layer.forward(i.int(0), None)?)]),
    );
    let offsets = |i: &Inputs, offsets: [i64; 3]| Tensor::<1, Int>::from_ints(offsets, &i.device.clone().inner());
    let sum = |init: &mut Init<'_>| {
        EmbeddingBagConfig::new(7, 3).with_mode(BagMode::Sum).with_padding_idx(Some(2)).init(init)
    };
    c.case("embedding_bag_sum", sum, |layer, i| {
        Ok(vec![float(layer.forward_offsets(i.int(0), offsets(i, [0, 2, 2]), Some(i.float(1)))?)])
    });
    let max = |init: &mut Init<'_>| {
        EmbeddingBagConfig::new(7, 3).with_mode(BagMode::Max).with_include_last_offset(true).init(init)
    };
    c.case("embedding_bag_max", max, |layer, i| {
        Ok(vec![float(layer.forward_offsets(i.int(0), offsets(i, [0, 4, 6]), None)?)])
    });
}

/// The output and the states of an LSTM.
fn three<const D: usize>((output, (h, c)): (Tensor<D>, (Tensor<D>, Tensor<D>))) -> Vec<Array> {
    vec![float(output), float(h), float(c)]
}

/// The output and the state of another.
fn two<const D: usize>((output, h): (Tensor<D>, Tensor<D>)) -> Vec<Array> {
    vec![float(output), float(h)]
}

pub(crate) fn recurrent(c: &mut Checked) {
    let lstm = || LSTMConfig::new(3, 4);
    let plain = |layer: &LSTM, i: &Inputs| -> Outputs { Ok(three(layer.forward(i.float::<3>(0), None)?)) };
    c.case("lstm", |init| lstm().init_lstm(init), plain);
    let deep = || lstm().with_num_layers(2).with_bidirectional(true).with_dropout(0.3);
    c.case(
        "lstm_state",
        |init| deep().with_batch_first(true).init_lstm(init),
        |layer, i| Ok(three(layer.forward(i.float::<3>(0), Some((i.float(1), i.float(2))))?)),
    );
    let projected = lstm().with_num_layers(2).with_proj_size(2).with_bias(false);
    c.case("lstm_projection", |init| projected.init_lstm(init), plain);
    c.case(
        "lstm_unbatched",
        |init| lstm().init_lstm(init),
        |layer, i| Ok(three(layer.forward(i.float::<2>(0), None)?)),
    );
    c.case(
        "lstm_lengths",
        |init| deep().init_lstm(init),
        |layer, i| Ok(three(layer.forward_lengths(i.float::<3>(0), &[3, 5, 2], None)?)),
    );
    let gru = GRUConfig::new(3, 4).with_num_layers(2).with_bidirectional(true);
    c.case("gru", |init| gru.init_gru(init), |layer, i| Ok(two(layer.forward(i.float::<3>(0), Some(i.float(1)))?)));
    c.case(
        "gru_lengths",
        |init| GRUConfig::new(3, 4).with_batch_first(true).init_gru(init),
        |layer, i| Ok(two(layer.forward_lengths(i.float::<3>(0), &[5, 4, 1], None)?)),
    );
    let plain = |layer: &RNN, i: &Inputs| -> Outputs { Ok(two(layer.forward(i.float::<3>(0), None)?)) };
    c.case("rnn", |init| RNNConfig::new(3, 4).init_rnn(init), plain);
    let relu = RNNConfig::new(3, 4).with_relu(true).with_bias(false).with_num_layers(2);
    c.case("rnn_relu", |init| relu.init_rnn(init), plain);
    c.case(
        "lstm_cell",
        |init| CellConfig::new(3, 4).init_lstm(init),
        |layer, i| {
            let (h, c) = layer.forward(i.float::<2>(0), Some((i.float(1), i.float(2))))?;
            Ok(vec![float(h), float(c)])
        },
    );
    c.case(
        "gru_cell",
        |init| CellConfig::new(3, 4).init_gru(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<2>(0), Some(i.float(1)))?)]),
    );
    c.case(
        "rnn_cell",
        |init| CellConfig::new(3, 4).with_bias(false).with_relu(true).init_rnn(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<2>(0), None)?)]),
    );
}

pub(crate) fn attention(c: &mut Checked) {
    let weights = |layer: &MultiheadAttention, i: &Inputs, masks: &Masks| -> Outputs {
        let (output, weights) = layer.forward_weights(i.float::<3>(0), i.float(1), i.float(2), masks)?;
        Ok(vec![float(output), float(weights)])
    };
    let plain = |layer: &MultiheadAttention, i: &Inputs| weights(layer, i, &Masks::new());
    c.case("attention", |init| MultiheadAttentionConfig::new(8, 2).init(init), plain);
    let config = MultiheadAttentionConfig::new(8, 2).with_dropout(0.3).with_batch_first(true);
    c.case(
        "attention_no_weights",
        |init| config.init(init),
        |layer, i| {
            let masks = Masks::new().with_key_padding(i.boolean::<2>(3));
            Ok(vec![float(layer.forward_masked(i.float::<3>(0), i.float(1), i.float(2), &masks)?)])
        },
    );
    let config = MultiheadAttentionConfig::new(8, 2).with_kdim(Some(3)).with_vdim(Some(5)).with_bias(false);
    c.case("attention_dims", |init| config.init(init), plain);
    let config = MultiheadAttentionConfig::new(8, 2).with_add_bias_kv(true).with_add_zero_attn(true);
    c.case(
        "attention_added",
        |init| config.init(init),
        |layer, i| {
            // Taken in the order of the inputs.
            let (q, k, v) = (i.float::<3>(0), i.float(1), i.float(2));
            let masks = Masks::new().with_added(i.float::<2>(3));
            let (output, weights) = layer.forward_weights(q, k, v, &masks)?;
            Ok(vec![float(output), float(weights)])
        },
    );

    let layer = || TransformerLayerConfig::new(8, 2).with_dim_feedforward(16);
    c.case(
        "encoder_layer",
        |init| layer().init_encoder(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0))?)]),
    );
    let first = || layer().with_batch_first(true).with_norm_first(true);
    let config = first().with_activation(Activation::Gelu).with_bias(false).with_layer_norm_eps(1e-4);
    c.case(
        "encoder_layer_first",
        |init| config.init_encoder(init),
        |layer, i| {
            let masks = Masks::new().with_causal(4, &i.device.clone().inner())?;
            Ok(vec![float(layer.forward_masked(i.float::<3>(0), &masks)?)])
        },
    );
    c.case(
        "decoder_layer",
        |init| layer().with_dropout(0.2).init_decoder(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0), i.float(1))?)]),
    );
    c.case(
        "decoder_layer_first",
        |init| first().init_decoder(init),
        |layer, i| {
            let masks = Masks::new().with_key_padding(i.boolean::<2>(2));
            Ok(vec![float(layer.forward_masked(i.float::<3>(0), i.float(1), &Masks::new(), &masks)?)])
        },
    );
    let encoder = |init: &mut Init<'_>| {
        let config =
            TransformerLayerConfig::new(8, 2).with_dim_feedforward(12).with_dropout(0.0).with_batch_first(true);
        let layer = config.init_encoder(init)?;
        Ok(TransformerEncoder::new(&layer, 2, Some(LayerNormConfig::new([8]).init(init)?)))
    };
    c.case("encoder", encoder, |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0))?)]));
    let config = TransformerConfig::new(TransformerLayerConfig::new(8, 2).with_dim_feedforward(12));
    let config = config.with_num_encoder_layers(1).with_num_decoder_layers(2);
    c.case(
        "transformer",
        |init| config.init(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0), i.float(1))?)]),
    );
}
