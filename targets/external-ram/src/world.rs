//! What the world asks of the device: a script, fed to a queue as an interrupt handler would.

use heapless::Vec;
use heapless::spsc::{Consumer, Producer};

/// Bytes of a piece of an update.
const PIECE: usize = 100;

/// Which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The one the firmware was built with.
    Factory,
    /// The newest in the slots.
    Slot,
}

/// What must come of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is the newest task, of this release.
    Taken(u64),
    /// It is the task in use.
    InUse,
    /// It is refused, with this number of `SIGNED.md`.
    Refused(u8),
    /// Its self-test answers otherwise.
    Fails,
    /// It hangs after its self-test, until the watchdog resets the device.
    Hangs,
    /// Its key has begun too many updates.
    Exhausted,
    /// Power fails before it is complete.
    Cut,
}

/// A request.
pub(crate) enum Request {
    /// Go on with a task.
    Use(Source),
    /// Classify an image.
    Classify(usize),
    /// An update comes, in pieces.
    Update(Outcome),
    /// The next piece.
    Piece(Vec<u8, PIECE>),
    /// Power fails.
    PowerCut,
    /// All is done.
    End,
}

/// A step of the script.
#[derive(Clone, Copy)]
enum Step {
    Use(Source),
    Classify(usize),
    /// A file, the byte of it that is flipped, the piece before which power fails, the outcome.
    Update(&'static [u8], Option<usize>, Option<usize>, Outcome),
}

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(env!("CODA_SWAP"), "/", $name))
    };
}

use Outcome::{Cut, Exhausted, Fails, Hangs, InUse, Refused, Taken};
use Step::{Classify, Update, Use};

static KINDS: &[u8] = file!("kinds-2.signed");
static GARMENTS_OLD: &[u8] = file!("garments-1.signed");
static KINDS_FOREIGN: &[u8] = file!("kinds-foreign.signed");
static KINDS_UNSIGNED: &[u8] = file!("kinds.coda");
const GARMENTS: &[u8] = file!("garments-3.signed");
static GARMENTS_BAD: &[u8] = file!("garments-bad-4.signed");
static KINDS_HANG: &[u8] = file!("kinds-5.signed");
/// Another package of the release of [`KINDS`].
static GARMENTS_SAME: &[u8] = file!("garments-2.signed");
/// The envelope of a base, which is no task however late its release.
static BASE: &[u8] = file!("base-1000.envelope");
/// A byte of its tensors.
const MIDDLE: usize = GARMENTS.len() / 2;

/// The script of each start since power came first.
static SCRIPT: [&[Step]; 3] = [
    &[
        Classify(0),
        Classify(7),
        Update(KINDS, None, None, Taken(2)),
        Use(Source::Slot),
        Classify(0),
        Classify(1),
        Classify(7),
        Classify(8),
        // Two tasks over one base, in turn.
        Use(Source::Factory),
        Classify(7),
        Use(Source::Slot),
        Classify(7),
        Use(Source::Factory),
        Classify(8),
        Use(Source::Slot),
        Classify(8),
        Update(KINDS, None, None, InUse),
        Update(GARMENTS_SAME, None, None, Refused(18)),
        Update(BASE, None, None, Refused(12)),
        Update(KINDS_UNSIGNED, None, None, Refused(1)),
        Update(GARMENTS_OLD, None, None, Refused(8)),
        Update(KINDS_FOREIGN, None, None, Refused(6)),
        Update(GARMENTS, Some(20), None, Refused(7)),
        Update(GARMENTS, Some(MIDDLE), None, Refused(10)),
        Update(GARMENTS_BAD, None, None, Fails),
        Classify(9),
        Update(GARMENTS, None, Some(MIDDLE / PIECE), Cut),
    ],
    &[
        Classify(9),
        Classify(2),
        Update(GARMENTS, None, None, Taken(3)),
        Classify(9),
        Classify(2),
        Update(KINDS_HANG, None, None, Hangs),
    ],
    &[
        Classify(9),
        Classify(5),
        Update(KINDS, None, None, Refused(8)),
        Update(GARMENTS_BAD, None, None, Fails),
        Update(GARMENTS_BAD, None, None, Fails),
        Update(GARMENTS_BAD, None, None, Fails),
        Update(GARMENTS_BAD, None, None, Fails),
        Update(GARMENTS_BAD, None, None, Exhausted),
        Use(Source::Factory),
        Classify(5),
    ],
];

/// The requests.
pub(crate) struct World<'q> {
    steps: &'static [Step],
    /// Where in the file of an update; `None` before it was announced.
    offset: Option<usize>,
    sender: Producer<'q, Request>,
    receiver: Consumer<'q, Request>,
}

impl<'q> World<'q> {
    pub(crate) fn new(
        start: u32,
        sender: Producer<'q, Request>,
        receiver: Consumer<'q, Request>,
    ) -> Self {
        let steps = SCRIPT.get(start as usize).copied().unwrap_or_default();
        Self { steps, offset: None, sender, receiver }
    }

    /// The next request.
    pub(crate) fn next(&mut self) -> Request {
        while self.sender.ready() {
            let request = self.make();
            // There is room.
            let _ = self.sender.enqueue(request);
        }
        self.receiver.dequeue().unwrap_or(Request::End)
    }

    fn make(&mut self) -> Request {
        let Some((step, rest)) = self.steps.split_first() else { return Request::End };
        let request = match step {
            Use(source) => Request::Use(*source),
            Classify(image) => Request::Classify(*image),
            Update(file, flip, cut, outcome) => {
                let Some(offset) = self.offset else {
                    self.offset = Some(0);
                    return Request::Update(*outcome);
                };
                if *cut == Some(offset / PIECE) {
                    return Request::PowerCut;
                }
                let piece = piece(file, offset, *flip);
                self.offset = Some(offset + piece.len());
                if offset + piece.len() < file.len() {
                    return Request::Piece(piece);
                }
                Request::Piece(piece)
            }
        };
        // The step is done.
        (self.steps, self.offset) = (rest, None);
        request
    }
}

/// The piece of a file from `offset` on, with a bit flipped if byte `flip` is in it.
fn piece(file: &[u8], offset: usize, flip: Option<usize>) -> Vec<u8, PIECE> {
    let bytes = file.get(offset..).unwrap_or_default();
    let mut piece = Vec::from_slice(bytes.get(..PIECE).unwrap_or(bytes)).unwrap_or_default();
    let flipped = flip.and_then(|flip| flip.checked_sub(offset));
    if let Some(byte) = flipped.and_then(|at| piece.get_mut(at)) {
        *byte ^= 0x10;
    }
    piece
}
