//! Receipt: what `append` gives: it can be waited for, by a thread or by a task.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// An entry that is on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
}

/// Why an entry is not on the disk, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many wait. Nothing of it was written.
    #[error("the audit log takes no more entries at present")]
    Full,
    /// The disk refused a write or a sync, this one or one before. What the kernel then dropped is
    /// unknown, so nothing is written until the log has been opened anew.
    #[error("the audit log can't be written, and takes nothing until it is opened anew")]
    Failed,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
}

/// The answer to an append, once there is one. Whoever does not wait for it knows nothing: only
/// [`Appended`] says that the entry would survive a power cut.
#[must_use = "an entry is on the disk only once its receipt says so"]
#[derive(Debug)]
pub struct Receipt(Arc<Slot>);

/// The other end of a receipt; dropped without an answer it answers that the log is closed.
#[derive(Debug)]
pub(crate) struct Answer(Arc<Slot>);

type Answered = Result<Appended, AppendError>;

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answered>,
    waker: Option<Waker>,
}

pub(crate) fn receipt() -> (Answer, Receipt) {
    let slot = Arc::new(Slot::default());
    (Answer(Arc::clone(&slot)), Receipt(slot))
}

impl Receipt {
    /// Waits for the answer.
    ///
    /// # Errors
    /// If the entry is not on the disk.
    pub fn wait(self) -> Result<Appended, AppendError> {
        let mut state = self.0.lock();
        loop {
            match state.answer {
                Some(answer) => return answer,
                None => state = self.0.answered.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits for the answer, and gives the receipt back if none came in time.
    ///
    /// # Errors
    /// The receipt itself.
    pub fn wait_for(self, limit: Duration) -> Result<Result<Appended, AppendError>, Receipt> {
        let state = self.0.lock();
        let is_open = |state: &mut State| state.answer.is_none();
        let waited = self.0.answered.wait_timeout_while(state, limit, is_open);
        let answer = waited.unwrap_or_else(PoisonError::into_inner).0.answer;
        answer.ok_or(self)
    }
}

impl Future for Receipt {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Receipt>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match state.answer {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Answer {
    pub(crate) fn give(self, answer: Result<Appended, AppendError>) {
        self.0.give(answer);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.give(Err(AppendError::Closed));
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first answer stands.
    fn give(&self, answer: Answered) {
        let waker = {
            let mut state = self.lock();
            state.answer.get_or_insert(answer);
            state.waker.take()
        };
        self.answered.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    const ANSWER: Result<Appended, AppendError> = Ok(Appended { seq: 7 });

    #[test]
    fn a_thread_waits_for_the_answer() {
        let (answer, receipt) = receipt();
        let receipt = receipt.wait_for(Duration::from_millis(1)).unwrap_err();
        let waiting = std::thread::spawn(move || receipt.wait());
        answer.give(ANSWER);
        assert_eq!(waiting.join().unwrap(), ANSWER);
    }

    #[test]
    fn a_task_is_woken_by_the_answer() {
        struct Thread(std::thread::Thread);
        impl Wake for Thread {
            fn wake(self: Arc<Thread>) {
                self.0.unpark();
            }
        }
        let (answer, mut receipt) = receipt();
        let waker = Waker::from(Arc::new(Thread(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        assert_eq!(Pin::new(&mut receipt).poll(&mut context), Poll::Pending);
        let answering = std::thread::spawn(move || answer.give(ANSWER));
        std::thread::park();
        assert_eq!(Pin::new(&mut receipt).poll(&mut context), Poll::Ready(ANSWER));
        answering.join().unwrap();
    }

    #[test]
    fn an_answer_that_is_dropped_is_no_success() {
        let (answer, receipt) = receipt();
        drop(answer);
        assert_eq!(receipt.wait(), Err(AppendError::Closed));
    }
}
