//! A terminal of a test's own, with somebody at the keyboard.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::processes::{from_now, readable_by};

/// The keyboard's and screen's end of a terminal.
pub(crate) struct Terminal {
    ours: Arc<File>,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// Its end ends the reader.
    stop: Option<UnixStream>,
}

impl Terminal {
    /// A terminal, and the end for its programs.
    pub(crate) fn new() -> (Self, OwnedFd) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = open(ptsname(&ours, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
        let ours = Arc::new(File::from(ours));
        let (stop, stopped) = UnixStream::pair().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let (ours, screen) = (Arc::clone(&ours), Arc::clone(&screen));
            move || {
                let mut buffer = [0; 4096];
                let far = from_now(Duration::from_secs(600));
                while let [true, false] = readable_by([ours.as_fd(), stopped.as_fd()], far)
                    // The end of the last program that has it open is an error here.
                    && let Ok(count @ 1..) = (&*ours).read(&mut buffer)
                {
                    screen.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            }
        });
        let terminal = Self {
            ours,
            screen,
            reader: Some(reader),
            stop: Some(stop),
        };
        (terminal, theirs)
    }

    pub(crate) fn type_in(&mut self, keys: &[u8]) {
        (&*self.ours).write_all(keys).unwrap();
    }

    /// Closes it under its programs, as when its window is closed: what was on the screen.
    pub(crate) fn hang_up(mut self) -> String {
        drop(self.stop.take());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }
}
