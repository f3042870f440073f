//! The host's memory killer: whether it may have been what killed a QEMU.

use std::fs;

/// How many processes it has killed since the host started, those of control groups included: `oom_kill` in
/// `/proc/vmstat`, which Linux has from 4.13 on.
pub(super) fn kills() -> Option<u64> {
    parse(&fs::read_to_string("/proc/vmstat").ok()?)
}

fn parse(vmstat: &str) -> Option<u64> {
    let count = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

/// Whether it has killed something since its count was `before`.
pub(super) fn struck_since(before: Option<u64>) -> bool {
    matches!((before, kills()), (Some(before), Some(now)) if now > before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_count_is_found_among_the_others() {
        assert_eq!(parse("drop_slab 0\noom_kill 7\nnuma_hit 1\n"), Some(7));
        assert_eq!(parse("drop_slab 0\n"), None);
    }

    #[test]
    fn it_has_not_struck_where_nothing_was_counted() {
        assert!(!struck_since(None) && !struck_since(Some(u64::MAX)));
    }
}
