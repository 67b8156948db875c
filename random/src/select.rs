//! The largest of many, in the order in which `torch.topk` gives them on the CPU. Where values are equal, that order is what the
//! C++ library's sorting leaves: here are the steps of GCC's (`bits/stl_algo.h` and `bits/stl_heap.h` of libstdc++).

use crate::real::Real;

/// A value and its place.
type Entry<T> = (T, i64);

/// Up to this length pieces are sorted by insertion.
const SHORT: usize = 16;

/// `torch.topk(values, k).indices`, and for one the place of `torch.argmax`, which is the first of the largest. What is not a
/// number counts as larger than all numbers.
pub(crate) fn largest<T: Real>(values: &[T], k: usize) -> Vec<i64> {
    let mut entries: Vec<Entry<T>> = values.iter().copied().zip(0..).collect();
    if k == 1 {
        let first = entries.into_iter().reduce(|best, entry| if before(&entry, &best) { entry } else { best });
        return first.map(|(_, place)| place).into_iter().collect();
    }
    // `topk_impl_loop` of ATen/native/TopKImpl.h.
    if k * 64 <= entries.len() {
        partial_sort(&mut entries, k);
    } else if let Some(last) = k.checked_sub(1) {
        nth_element(&mut entries, last);
        sort(&mut entries[..last]);
    }
    entries.iter().take(k).map(|(_, place)| *place).collect()
}

fn before<T: Real>((x, _): &Entry<T>, (y, _): &Entry<T>) -> bool {
    #[expect(clippy::eq_op, reason = "only what is not a number differs from itself")]
    let (x_is_nan, y_is_nan) = (x != x, y != y);
    (x_is_nan && !y_is_nan) || x > y
}

/// Twice the logarithm: so many partitions may come one after the other before a heap takes over.
fn depth(len: usize) -> u32 {
    len.checked_ilog2().map_or(0, |log| 2 * log)
}

/// `std::nth_element`.
fn nth_element<T: Real>(entries: &mut [Entry<T>], nth: usize) {
    let (mut first, mut last, mut left) = (0, entries.len(), depth(entries.len()));
    if nth == last {
        return;
    }
    while last - first > 3 {
        if left == 0 {
            heap_select(&mut entries[first..last], nth + 1 - first);
            entries.swap(first, nth);
            return;
        }
        left -= 1;
        let cut = first + partition(&mut entries[first..last]);
        if cut <= nth { first = cut } else { last = cut }
    }
    insertion_sort(&mut entries[first..last]);
}

/// `std::sort`.
fn sort<T: Real>(entries: &mut [Entry<T>]) {
    let left = depth(entries.len());
    introsort(entries, left);
    // What is left is sorted but for steps inside of pieces: from here on nothing passes the front.
    insertion_sort(entries);
}

fn introsort<T: Real>(mut entries: &mut [Entry<T>], mut left: u32) {
    while entries.len() > SHORT {
        if left == 0 {
            let len = entries.len();
            return partial_sort(entries, len);
        }
        left -= 1;
        let cut = partition(entries);
        let (front, back) = entries.split_at_mut(cut);
        introsort(back, left);
        entries = front;
    }
}

/// `std::__unguarded_partition_pivot`: around the median of the second, the middle and the last, which moves to the front.
fn partition<T: Real>(entries: &mut [Entry<T>]) -> usize {
    let (a, b, c) = (1, entries.len() / 2, entries.len() - 1);
    let less = |x: usize, y: usize| before(&entries[x], &entries[y]);
    let median = if less(a, b) {
        if less(b, c) {
            b
        } else if less(a, c) {
            c
        } else {
            a
        }
    } else if less(a, c) {
        a
    } else if less(b, c) {
        c
    } else {
        b
    };
    entries.swap(0, median);
    let pivot = entries[0];
    let (mut first, mut last) = (1, entries.len());
    loop {
        while before(&entries[first], &pivot) {
            first += 1;
        }
        last -= 1;
        while before(&pivot, &entries[last]) {
            last -= 1;
        }
        if first >= last {
            return first;
        }
        entries.swap(first, last);
        first += 1;
    }
}

fn insertion_sort<T: Real>(entries: &mut [Entry<T>]) {
    for end in 1..entries.len() {
        let entry = entries[end];
        let mut place = end;
        if before(&entry, &entries[0]) {
            place = 0;
        } else {
            while before(&entry, &entries[place - 1]) {
                place -= 1;
            }
        }
        entries.copy_within(place..end, place + 1);
        entries[place] = entry;
    }
}

/// `std::partial_sort`: the first `k` of the order come to the front.
fn partial_sort<T: Real>(entries: &mut [Entry<T>], k: usize) {
    heap_select(entries, k);
    for end in (1..k).rev() {
        let value = entries[end];
        entries[end] = entries[0];
        sift(&mut entries[..end], 0, value);
    }
}

/// `std::__heap_select`: the first `k` of the order come to the front, as a heap with the last of them on top.
fn heap_select<T: Real>(entries: &mut [Entry<T>], k: usize) {
    for parent in (0..k / 2).rev() {
        let value = entries[parent];
        sift(&mut entries[..k], parent, value);
    }
    for place in k..entries.len() {
        if before(&entries[place], &entries[0]) {
            let value = entries[place];
            entries[place] = entries[0];
            sift(&mut entries[..k], 0, value);
        }
    }
}

/// `std::__adjust_heap`: the hole sinks to the bottom, and the value rises from there.
fn sift<T: Real>(heap: &mut [Entry<T>], top: usize, value: Entry<T>) {
    let (mut hole, len) = (top, heap.len());
    let mut child = 2 * hole + 2;
    while child < len {
        if before(&heap[child], &heap[child - 1]) {
            child -= 1;
        }
        heap[hole] = heap[child];
        hole = child;
        child = 2 * hole + 2;
    }
    if child == len {
        heap[hole] = heap[child - 1];
        hole = child - 1;
    }
    while hole > top {
        let parent = (hole - 1) / 2;
        if !before(&heap[parent], &value) {
            break;
        }
        heap[hole] = heap[parent];
        hole = parent;
    }
    if let Some(place) = heap.get_mut(hole) {
        *place = value;
    }
}
