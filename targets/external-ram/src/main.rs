//! Two tasks over one base on a Cortex-M7: swapped between two inferences, one of them updated in
//! pieces over two slots, only with a signature, never to an older release, and only if its self-test
//! answers to the bit. A task that hangs on trial is gone at the next start. The arena is on a heap in
//! external RAM.
#![no_std]
#![no_main]

extern crate alloc;

mod device;
mod external;
mod flash;
#[path = "../../firmware/src/stack.rs"]
mod stack;
#[path = "../../firmware/src/ticks_arm.rs"]
mod ticks;
mod trial;
mod world;

use coda_runtime::executor::{Executor, Input};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use core::fmt;
use cortex_m::Peripherals;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{entry, exception};
use cortex_m_semihosting::{debug, hprintln};
use device::{Device, Refusal};
use external::HeapArena;
use flash::Flash;
use heapless::spsc::Queue;
use world::{Outcome, Request, Source, World};

static IMAGES: &[u8] = include_bytes!(concat!(env!("CODA_SWAP"), "/images.bin"));
/// The host's logits at r = 4, image by image: of the ten garments and of the four kinds.
static ANSWERS: [&[u8]; 2] = [
    include_bytes!(concat!(env!("CODA_SWAP"), "/garments.bin")),
    include_bytes!(concat!(env!("CODA_SWAP"), "/kinds.bin")),
];

/// Bytes of stack that the program needs; it checks that they are there and enough.
const STACK_BYTES: usize = 24 * 1024;

/// Why the program fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// A task that must be good is refused.
    Refused,
    /// The tasks do not bind or run.
    Run,
    /// The heap is too small for the arena.
    Heap,
    /// A logit has other bits than the host's.
    Answer,
    /// An update had another outcome.
    Outcome,
    /// The stack has not the planned bytes, or went below them.
    Stack,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        hprintln!("refused: {}", refusal);
        Self::Refused
    }
}

#[entry]
fn main() -> ! {
    external::start();
    let result = run();
    if let Err(failure) = &result {
        hprintln!("failed: {:?}", failure);
    }
    loop {
        debug::exit(if result.is_ok() { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

fn run() -> Result<(), Failure> {
    if stack::room() < STACK_BYTES {
        return Err(Failure::Stack);
    }
    let mut peripherals = Peripherals::take().ok_or(Failure::Run)?;
    ticks::start(&mut peripherals.SYST);
    // SAFETY: once, at the start.
    let (flash, started) = unsafe { Flash::take() };
    if started == 0 {
        hprintln!("ticks-of-1024-instructions {}", ticks::calibrate() >> 10);
    }
    stack::paint();
    let mut device = Device::start(flash)?;
    let installed = device.installed.as_ref();
    let installed =
        installed.map(|(task, place)| (task.manifest.release(), place.slot().sequence()));
    hprintln!("start {} slots {:?}", started, installed);
    let mut queue: Queue<Request, 8> = Queue::new();
    let (sender, receiver) = queue.split();
    let mut world = World::new(started, sender, receiver);
    let mut source = if installed.is_some() { Source::Slot } else { Source::Factory };
    while let Some(next) = serve(&mut device, source, &mut world)? {
        source = next;
    }
    count_verification(&device)?;
    let depth = stack::depth();
    hprintln!("stack planned={} touched={}", STACK_BYTES, depth);
    if depth > STACK_BYTES { Err(Failure::Stack) } else { Ok(()) }
}

/// Serves requests with one task until another is asked for.
fn serve(
    device: &mut Device,
    source: Source,
    world: &mut World<'_>,
) -> Result<Option<Source>, Failure> {
    let before = ticks::now();
    let base = device.base;
    let task = match (source, &device.installed) {
        (Source::Slot, Some((task, _))) => *task,
        _ => device.factory,
    };
    let model = Model::bind(&base, &task.package).map_err(|_| Failure::Run)?;
    let tokens = model.max_tokens().ok_or(Failure::Run)?;
    let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens));
    let plan = plan.map_err(|_| Failure::Run)?;
    let mut arena = HeapArena::new(plan.arena_bytes()).ok_or(Failure::Heap)?;
    let mut executor =
        Executor::new(&model, Kernels::best(), plan, arena.bytes()).map_err(|_| Failure::Run)?;
    let swap = ticks::now() - before;
    hprintln!(
        "use {:?} release={} heap={} swap-ticks={}",
        source,
        task.manifest.release(),
        external::used(),
        swap
    );
    answer(device, &mut executor, &model, source, world)
}

/// Answers requests until one asks for another task.
fn answer(
    device: &mut Device,
    executor: &mut Executor<'_, '_>,
    model: &Model<'_>,
    source: Source,
    world: &mut World<'_>,
) -> Result<Option<Source>, Failure> {
    loop {
        match world.next() {
            Request::Use(next) => return Ok(Some(next)),
            Request::End => return Ok(None),
            Request::Classify(image) => classify(executor, model, image)?,
            Request::Update(expected) => {
                let taken = update(device, world, expected)?;
                if taken && source == Source::Slot {
                    // On with the new one: the next update overwrites this one.
                    return Ok(Some(source));
                }
            }
            // Of an update that was refused: its sender does not know yet.
            Request::Piece(_) => {}
            Request::PowerCut => reset("power cut"),
        }
    }
}

/// Takes an update or refuses it, as expected; whether it was taken.
fn update(device: &mut Device, world: &mut World<'_>, expected: Outcome) -> Result<bool, Failure> {
    let found = device.update(
        || next_or_reset(world),
        |base, task| {
            trial::self_test(base, task)?;
            if expected == Outcome::Hangs {
                reset("the task on trial hangs: watchdog");
            }
            Ok(())
        },
    );
    let found = match found {
        Ok(Some(release)) => {
            hprintln!("update taken: release {}", release);
            Outcome::Taken(release)
        }
        Ok(None) => {
            hprintln!("update of the task in use: nothing to do");
            Outcome::InUse
        }
        Err(refusal) => {
            hprintln!("update refused: {}", refusal);
            outcome(refusal)
        }
    };
    if found == expected { Ok(matches!(found, Outcome::Taken(_))) } else { Err(Failure::Outcome) }
}

/// The next request; power may fail instead.
fn next_or_reset(world: &mut World<'_>) -> Request {
    match world.next() {
        Request::PowerCut => reset("power cut"),
        request => request,
    }
}

fn outcome(refusal: Refusal) -> Outcome {
    match refusal {
        Refusal::Signature(error) => Outcome::Refused(error.number()),
        Refusal::SelfTest(_) => Outcome::Fails,
        Refusal::Exhausted(_) => Outcome::Exhausted,
        _ => Outcome::Refused(0),
    }
}

fn reset(why: &str) -> ! {
    hprintln!("{}", why);
    SCB::sys_reset()
}

/// Classifies an image and compares every logit with the host's.
fn classify(
    executor: &mut Executor<'_, '_>,
    model: &Model<'_>,
    image: usize,
) -> Result<(), Failure> {
    let pixels = model.patch_grid().ok_or(Failure::Run)?.image_bytes();
    let bytes = IMAGES.get(image * pixels..(image + 1) * pixels).ok_or(Failure::Run)?;
    let output =
        executor.run(Input::Pixels(bytes), Budget::Reduction(4.0)).map_err(|_| Failure::Run)?;
    let label = output.label().ok_or(Failure::Run)?;
    hprintln!(
        "answer image={} label={} of {} bits{:?}",
        image,
        label,
        output.values.len(),
        Bits(output.values)
    );
    let images = IMAGES.len() / pixels;
    let answers = ANSWERS.iter().find(|answers| answers.len() == images * 4 * output.values.len());
    let answers = answers.ok_or(Failure::Answer)?.chunks_exact(4).skip(image * output.values.len());
    let equal = output.values.iter().zip(answers).all(|(value, bits)| value.to_le_bytes() == bits);
    if equal { Ok(()) } else { Err(Failure::Answer) }
}

/// Bits of floats.
struct Bits<'a>(&'a [f32]);

impl fmt::Debug for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|value| write!(f, " {:08x}", value.to_bits()))
    }
}

/// What the check of a signature costs.
fn count_verification(device: &Device) -> Result<(), Failure> {
    let (file, trust) = device.factory_file();
    let before = ticks::now();
    let manifest = trust.manifest(file).map_err(Refusal::from)?;
    let signature = ticks::now() - before;
    let package = file.get(manifest.envelope_bytes()..).unwrap_or_default();
    let before = ticks::now();
    manifest.check(package).map_err(Refusal::from)?;
    let digest = ticks::now() - before;
    hprintln!("ticks signature={} digest={} of bytes={}", signature, digest, package.len());
    Ok(())
}

#[exception]
fn SysTick() {
    ticks::overflow();
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
