//! `Rank`: which of several processes of one program this is, told by the environment alone.

use super::env::Env;

/// Which process this is, and of how many: as `torchrun`, Open MPI, MPICH and Slurm say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rank {
    /// Its number among all.
    pub rank: usize,
    /// Its number on this machine; that among all where nothing says it.
    pub local: usize,
    /// How many there are.
    pub world: usize,
}

/// Who starts processes, and by which variables each tells its rank, its rank on its machine, and how many there are. The first
/// whose rank is there counts.
const LAUNCHERS: [[&str; 3]; 4] = [
    ["RANK", "LOCAL_RANK", "WORLD_SIZE"],
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE"],
    ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"],
];

impl Rank {
    /// As the environment says; the first and only one where it says nothing.
    ///
    /// ```
    /// use rekindle_recorder::source::{Env, Rank};
    ///
    /// let rank = Rank::of(&Env::from_iter([("RANK", "3"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "4")]));
    /// assert_eq!((rank.rank, rank.local, rank.world, rank.is_first()), (3, 1, 4, false));
    /// assert!(Rank::of(&Env::from_iter([("HOME", "/me")])).is_first());
    /// ```
    #[must_use]
    pub fn of(env: &Env) -> Self {
        let number = |name: &str| env.get(name)?.trim().parse::<usize>().ok();
        let told = LAUNCHERS.iter().find_map(|[rank, local, world]| {
            let rank = number(rank)?;
            Some(Rank { rank, local: number(local).unwrap_or(rank), world: number(world).unwrap_or(1).max(rank + 1) })
        });
        // Whoever says no more than the rank on a machine has one machine.
        let alone = || number("LOCAL_RANK").map_or(0, |local| local);
        told.unwrap_or_else(|| Rank {
            rank: alone(),
            local: alone(),
            world: number("WORLD_SIZE").unwrap_or(alone() + 1),
        })
    }

    /// Whether it is the one that speaks for all.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_launchers_variables_are_known() {
        let of = |variables: &[(&str, &str)]| {
            let rank = Rank::of(&variables.iter().copied().collect());
            (rank.rank, rank.local, rank.world)
        };
        assert_eq!(of(&[]), (0, 0, 1));
        assert_eq!(of(&[("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8"), ("SLURM_PROCID", "0")]), (5, 1, 8));
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "3")]), (2, 2, 3));
        assert_eq!(of(&[("PMI_RANK", "1"), ("PMI_SIZE", "2")]), (1, 1, 2));
        assert_eq!(of(&[("SLURM_PROCID", "4"), ("SLURM_LOCALID", "0"), ("SLURM_NTASKS", "8")]), (4, 0, 8));
        assert_eq!(of(&[("LOCAL_RANK", "1")]), (1, 1, 2));
        assert_eq!(of(&[("RANK", "soon")]), (0, 0, 1));
    }
}
