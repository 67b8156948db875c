//! Whether a data set's epochs are those that a checkpoint tells of: as many steps each as its optimizer has made in one.

use rekindle_recorder::run::Question;

use super::plan::Plan;

/// A scaler skips so many steps and fewer while it looks for its scale, which the optimizer does not count.
const SKIPPED: i64 = 32;

/// No more answers of a kind are offered.
const MOST: usize = 2;

/// What the epochs of a run are made of from here on.
#[derive(Clone, Copy, Debug)]
pub struct EpochOf {
    /// How many samples the data set has.
    pub samples: usize,
    /// How many of them a batch takes.
    pub batch_size: usize,
    /// Whether a batch that would be smaller is left out: `drop_last`.
    pub drop_last: bool,
}

impl EpochOf {
    /// How many batches an epoch has.
    fn batches(self) -> i64 {
        let size = self.batch_size.max(1);
        let batches = if self.drop_last { self.samples / size } else { self.samples.div_ceil(size) };
        i64::try_from(batches).unwrap_or(i64::MAX)
    }
}

/// What the checkpoint has counted.
#[derive(Clone, Copy)]
struct Counted {
    epoch: i64,
    made: i64,
}

impl Counted {
    /// Whether the steps are those of whole epochs of this length: of as many as were counted, or of one more where the number of the last one
    /// was saved.
    fn ends(self, length: i64) -> bool {
        let whole = |epochs: i64| epochs > 0 && epochs.saturating_mul(length) == self.made;
        whole(self.epoch) || whole(self.epoch.saturating_add(1))
    }

    /// Whether they are of such an epoch's end, or of one from amid: programs save the number of the present epoch, of the last one, or how many
    /// are finished.
    fn agree(self, length: i64, slack: i64) -> bool {
        let (least, most) = (self.epoch.saturating_mul(length), self.epoch.saturating_add(1).saturating_mul(length));
        (least..=most).contains(&self.made) || (self.made..=self.made.saturating_add(slack)).contains(&least)
    }
}

impl Plan {
    /// What the checkpoint has counted, and how many batches these data have; `None` where that agrees or nothing can be told.
    fn unlike(&self, data: EpochOf) -> Option<(Counted, i64)> {
        let (epoch, made) = (self.epoch.filter(|&epoch| epoch >= 0)?, self.step.filter(|&made| made > 0)?);
        let (counted, length) = (Counted { epoch, made }, data.batches());
        let slack = if self.scaler { SKIPPED } else { 0 };
        // One that is from amid an epoch by these data, and from an end where the last batch is left out, is from there.
        (length > 0 && (!counted.agree(length, slack) || left_out(counted, data))).then_some((counted, length))
    }

    /// Asks where the steps that were made are not those of as many epochs of these data as the checkpoint has counted, and would be with
    /// steps of several batches, or without the last batch of an epoch.
    #[must_use]
    pub fn ask_epochs(&self, data: EpochOf) -> Option<Question> {
        let (counted, length) = self.unlike(data)?;
        let several: Vec<i64> = (2..=length)
            .filter(|&each| counted.ends(length / each + i64::from(length % each > 0)))
            .take(MOST)
            .collect();
        let (Counted { epoch, made }, left_out) = (counted, left_out(counted, data));
        if several.is_empty() && !left_out {
            return None;
        }
        let what = format!(
            "the file tells of {made} steps and of epoch {epoch}, and an epoch of these data has {length} batches: it is not told what made a step"
        );
        let mut question = Question::new(what);
        if left_out {
            question = question.or("DataLoader::drop_last(true)", "where the last batch of an epoch was left out");
        }
        for each in several {
            question = question.or(format!("ResumeOptions::accumulate({each})"), format!("for {each} batches a step"));
        }
        let larger = sizes(data).filter(|&size| counted.ends(EpochOf { batch_size: size, ..data }.batches()));
        for size in larger.take(MOST) {
            question = question.or(format!("DataLoader::batch_size({size})"), format!("for batches of {size}"));
        }
        Some(question.or(
            "ResumeOptions::accumulate(1)",
            "where each batch is a whole step's: the data are others, the optimizer was begun on the way, or the file is from amid an epoch",
        ))
    }

    /// What is said of epochs that have another length than the checkpoint's, where nothing is asked of them: the batches have another size, or the
    /// data are others.
    #[must_use]
    pub fn other_epochs(&self, data: EpochOf) -> Option<String> {
        let (Counted { epoch, made }, length) = self.unlike(data)?;
        Some(format!(
            "why an epoch of these data has {length} batches, where the file has made {made} steps by epoch {epoch}: the data or the size of \
             batches are others, and it goes on so"
        ))
    }
}

/// Whether an epoch's end is told without its last batch, and not with it.
fn left_out(counted: Counted, data: EpochOf) -> bool {
    let (with, without) = (data.batches(), EpochOf { drop_last: true, ..data }.batches());
    with != without && counted.ends(without) && !counted.ends(with)
}

/// The sizes that larger batches may have had, the likeliest first: so many times as large, then powers of two, then all.
fn sizes(data: EpochOf) -> impl Iterator<Item = usize> {
    let (now, most) = (data.batch_size.max(1), data.samples.min(1 << 16));
    let times = (2..=most / now).map(move |times| times * now);
    let powers = (0..17).map(|power| 1 << power).filter(move |&size| size > now && size <= most && size % now != 0);
    let others = (now + 1..=most).filter(move |size| size % now != 0 && !size.is_power_of_two());
    times.chain(powers).chain(others)
}
