//! What a console said before its machine was there: on the machine of which this one is a copy.

use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::event::{PollFd, PollFlags, poll};

use super::handle::{Console, lock};

/// What was said, and how much of its end no wait has consumed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// The bytes as they came.
    pub(crate) bytes: Vec<u8>,
    /// How many bytes of the text that they make are left for the next wait.
    pub(crate) unread: usize,
}

impl Console {
    /// All that was said so far, what still lies in the socket included.
    pub(crate) fn past(&self) -> io::Result<Past> {
        let waiting = |console: &Self| {
            let mut fds = [PollFd::new(console, PollFlags::IN)];
            matches!(poll(&mut fds, Some(&Default::default())), Ok(1))
        };
        while waiting(self) && self.feed()? {}
        // Whoever feeds meanwhile has the lock until all it took has arrived.
        let _intake = lock(&self.shared.intake);
        let length = self.shared.file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.shared.file.read_exact_at(&mut bytes, 0)?;
        Ok(Past {
            bytes,
            unread: self.shared.unread(),
        })
    }

    /// Begins with what was said before. To be called before anything is fed.
    pub(crate) fn begin_with(&self, past: &Past) -> io::Result<()> {
        let mut intake = lock(&self.shared.intake);
        (&self.shared.file).write_all(&past.bytes)?;
        let text = intake.remember(&past.bytes);
        self.shared.remember(&text, past.unread);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use crate::testing::{Feeder, bare_console};

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_copy_goes_on_where_its_original_was() {
        let (original, mut guest, _interrupt) = bare_console();
        guest.write_all(b"booting\r\nlogin: \x1b[1mpass").unwrap();
        let feeder = Feeder::new(original.handle());
        original.wait_for("login: ", LIMIT).unwrap();
        drop(feeder);
        // The second half of a word, an escape sequence and a line is still to come, and nobody feeds.
        guest.write_all(b"word: \x1b[").unwrap();
        let past = original.past().unwrap();

        let (copy, mut guest, _interrupt) = bare_console();
        copy.begin_with(&past).unwrap();
        assert_eq!(copy.output(), "booting\nlogin: password: ");
        assert_eq!(copy.tail(1), "login: password: ");
        let (lines, heard) = std::sync::mpsc::channel();
        copy.on_line(move |line, _| lines.send(line.to_owned()).unwrap());
        let _feeder = Feeder::new(copy.handle());
        guest.write_all(b"0mok\n").unwrap();
        assert_eq!(copy.wait_for("ok\n", LIMIT).unwrap(), "password: ok\n");
        assert_eq!(heard.recv_timeout(LIMIT).unwrap(), "login: password: ok");
        assert_eq!(copy.output(), "booting\nlogin: password: ok\n");
    }
}
