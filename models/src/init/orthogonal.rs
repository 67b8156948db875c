//! `nn.init.orthogonal_`: the orthogonal factor of a random matrix, by Householder's reflections as LAPACK's `geqrf` and `orgqr`
//! make them.

/// Makes the rows of this matrix of `rows` rows (or its columns, where those are fewer) orthogonal, and multiplies by the gain.
pub(super) fn orthogonalise(values: &mut [f32], rows: usize, gain: f64) {
    let columns = values.len().checked_div(rows).unwrap_or(0);
    if columns == 0 {
        return;
    }
    // A tall matrix, a column after the other.
    let (long, short) = (rows.max(columns), rows.min(columns));
    let place = |row: usize, column: usize| {
        if rows < columns { column * columns + row } else { row * columns + column }
    };
    let mut q: Vec<Vec<f64>> =
        (0..short).map(|column| (0..long).map(|row| f64::from(values[place(row, column)])).collect()).collect();
    let signs = reflect(&mut q);
    for (column, sign) in signs.iter().enumerate() {
        for row in 0..long {
            #[allow(clippy::cast_possible_truncation)] // PyTorch's elements are float32
            let element = ((q[column][row] * sign) as f32) * gain as f32;
            values[place(row, column)] = element;
        }
    }
}

/// Replaces the columns by those of the orthogonal factor; gives the signs of the triangle's diagonal.
fn reflect(columns: &mut [Vec<f64>]) -> Vec<f64> {
    let mut reflections: Vec<(Vec<f64>, f64)> = Vec::new();
    let mut signs = Vec::new();
    for at in 0..columns.len() {
        let (first, rest) = (columns[at][at], &columns[at][at + 1..]);
        let norm = rest.iter().map(|x| x * x).sum::<f64>().sqrt();
        // LAPACK's larfg: nothing to reflect where all below is 0.
        let (beta, tau, mut vector) = if norm == 0.0 {
            (first, 0.0, vec![0.0; rest.len() + 1])
        } else {
            let beta = -first.hypot(norm).copysign(first);
            let vector = std::iter::once(1.0).chain(rest.iter().map(|x| x / (first - beta))).collect();
            (beta, (beta - first) / beta, vector)
        };
        vector[0] = 1.0;
        signs.push(if beta == 0.0 { 0.0 } else { beta.signum() });
        for column in &mut columns[at + 1..] {
            apply(&vector, tau, &mut column[at..]);
        }
        reflections.push((vector, tau));
    }
    for (at, column) in columns.iter_mut().enumerate() {
        column.fill(0.0);
        column[at] = 1.0;
        for (start, (vector, tau)) in reflections.iter().enumerate().take(at + 1).rev() {
            apply(vector, *tau, &mut column[start..]);
        }
    }
    signs
}

/// `x - tau v (v^T x)`.
fn apply(vector: &[f64], tau: f64, x: &mut [f64]) {
    let along = tau * vector.iter().zip(&*x).map(|(v, x)| v * x).sum::<f64>();
    x.iter_mut().zip(vector).for_each(|(x, v)| *x -= along * v);
}
