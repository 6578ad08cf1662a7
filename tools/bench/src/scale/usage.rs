//! What processes have used so far, by Linux's account.

use std::fs;

/// Ticks of the process clock in a second, on every Linux there is.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4_096.0;

/// What a process and its children have used.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Processor time in s.
    pub cpu: f64,
    /// Memory in bytes; what processes share counts for each of them.
    pub memory: f64,
}

impl Usage {
    /// What these processes and their children have used together.
    pub fn of(processes: &[u32]) -> Self {
        let mut sum = Self::default();
        for folder in fs::read_dir("/proc").expect("this is Linux").flatten() {
            let name = folder.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end meanwhile.
            let Ok(stat) = fs::read_to_string(folder.path().join("stat")) else {
                continue;
            };
            let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
            let fields: Vec<f64> =
                fields.split(' ').map(|it| it.trim().parse().unwrap_or(0.0)).collect();
            let parent = fields[1] as u32;
            if processes.contains(&id) || processes.contains(&parent) {
                sum.cpu += (fields[11] + fields[12]) / TICKS;
                sum.memory += fields[21] * PAGE;
            }
            if processes.contains(&id) {
                // Of the children that have ended, as the one of PostgreSQL for each connection.
                sum.cpu += (fields[13] + fields[14]) / TICKS;
            }
        }
        sum
    }
}
