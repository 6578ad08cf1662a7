use std::fs;

/// What a process has used so far, by Linux's account.
#[derive(Clone, Copy)]
pub struct Usage {
    /// In s.
    pub cpu: f64,
    /// In bytes.
    pub memory: f64,
    pub sockets: usize,
}

/// Ticks of the process clock in a second, on every Linux there is.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4_096.0;

impl Usage {
    pub fn of(process: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
        let fields: Vec<f64> =
            fields.split(' ').map(|it| it.trim().parse().unwrap_or(0.0)).collect();
        let files = fs::read_dir(format!("/proc/{process}/fd")).expect("it is ours");
        let is_socket = |path: std::path::PathBuf| {
            fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        Self {
            cpu: (fields[11] + fields[12]) / TICKS,
            memory: fields[21] * PAGE,
            sockets: files.flatten().filter(|file| is_socket(file.path())).count(),
        }
    }
}
