//! What a process uses, as the kernel says; and lines through what was measured.

use std::fs;
use std::path::Path;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub rss_kib: f64,
    pub files: f64,
    pub threads: f64,
    /// Seconds of CPU since its start.
    pub cpu: f64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name, in parentheses, may hold anything; user and system time are the 14th and 15th.
        let after_name: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: f64 = after_name[11..13].iter().map(|text| text.parse::<f64>().unwrap()).sum();
        Self {
            rss_kib: field("VmRSS:"),
            files: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64,
            threads: field("Threads:"),
            // Linux counts in hundredths of a second, whatever its own clock does.
            cpu: ticks / 100.0,
        }
    }
}

/// Bytes of all files below a folder; files may come and go.
pub fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// The least-squares line through points: where it begins, and how it climbs.
pub fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let slope = if spread > 0.0 { common / spread } else { 0.0 };
    (y - slope * x, slope)
}

/// The value below which this part of them lies.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}
