//! Structures that can declare a segment, and structures that do not compile: examples for the
//! documentation tests only. All come from one template, so that a refused structure differs from
//! an accepted one only in the wrong line.

macro_rules! declarations {
    ($($name:ident, $outcome:literal, $options:literal, $fields:literal;)*) => {$(
        #[doc = concat!(
            "```", $outcome, "\n",
            "use multiprocessing::*;\n",
            "#[derive(SharedState)]\n",
            "#[shared(", $options, ")]\n",
            "pub struct Shared {\n#[shared(segment)] segment: Segment,\n", $fields, "\n}\n",
            "let _: fn(&SegmentName) -> Result<Shared, SegmentError> = Shared::open;\n",
            "```",
        )]
        struct $name;
    )*};
}

mod accepted {
    declarations! {
        Nothing, "", "", "";
        Kinds, "", "", "lock: Lock, rlock: RLock, event: Event, value: Value<[f64; 3]>, raw: RawValue<i8>";
        Sizes, "", "args(workers: usize, units: u64)", "#[shared(len = workers)] array: Array<f32>,
            #[shared(len = 2 * workers + 1)] raw: RawArray<u16>, #[shared(units = units)] gate: Semaphore,
            #[shared(units = 1)] bounded: BoundedSemaphore, #[shared(parties = workers)] meet: Barrier,
            #[shared(capacity = workers.max(3))] queue: Queue<u64>,
            #[shared(capacity = 9,)] jobs: JoinableQueue<[u8; 12]>,
            #[shared(capacity = 9)] texts: MessageQueue";
        Conditions, "", "participants = 8", "#[shared(lock = lock)] changed: Condition, lock: Lock,
            #[shared(lock = rlock)] other: Condition, rlock: RLock";
        Documented, "", "args(workers: usize,)", "/// Written by its worker.\n#[shared(len = workers)]\n
            #[allow(dead_code)]\npub(crate) processing: RawArray<u8>,";
        FieldNamedAsArgument, "", "args(workers: usize)", "workers: RawValue<u32>,
            #[shared(len = workers)] plan: RawArray<u8>, #[shared(len = workers)] r#type: RawArray<u8>";
        PathsAndAliases, "", "", "lock: multiprocessing::Lock, count: <() as Of>::It } impl Of for () {
            type It = Value<u64>; } pub trait Of { type It;";
        Reading, "", "", "} #[derive(SharedState)] #[shared(args(workers: usize))] struct Seen {
            #[shared(segment)] it: View<Segment>, value: View<Value<u64>>,
            #[shared(len = workers)] raw: View<RawArray<u8>>";
        LongestName, "", "", "a23456789012345678901234567890_: Lock";
    }
}

mod refused {
    declarations! {
        Accepted, "", "args(workers: usize)", "#[shared(len = workers)] list: RawArray<u8>";
        NoLength, "compile_fail,E0277", "", "list: RawArray<u8>";
        NoUnits, "compile_fail,E0277", "", "gate: Semaphore";
        NoParties, "compile_fail,E0277", "", "meet: Barrier";
        NoCapacity, "compile_fail,E0277", "", "queue: Queue<u64>";
        NoLock, "compile_fail,E0277", "", "lock: Lock, changed: Condition";
        LengthOfValue, "compile_fail,E0277", "", "#[shared(len = 3)] value: Value<u64>";
        UnitsOfBarrier, "compile_fail,E0277", "", "#[shared(units = 3)] meet: Barrier";
        NotShared, "compile_fail,E0277", "", "list: Vec<u64>";
        NotShareable, "compile_fail,E0277", "", "value: Value<bool>";
        NotAtomic, "compile_fail,E0277", "", "value: RawValue<f64>";
        LengthOfOtherType, "compile_fail,E0308", "args(workers: u16)",
            "#[shared(len = workers)] list: RawArray<u8>";
        UnknownArgument, "compile_fail,E0425", "", "#[shared(len = workers)] list: RawArray<u8>";
        ConditionOfOtherType, "compile_fail,E0308", "", "lock: Lock, #[shared(lock = lock)] changed: Event";
        WritingInView, "compile_fail,E0308", "",
            "} #[derive(SharedState)] struct Seen { #[shared(segment)] it: View<Segment>, value: Value<u64>";
        ViewInSegment, "compile_fail,E0308", "", "value: View<Value<u64>>";
        CreatingView, "compile_fail,E0271", "",
            "} #[derive(SharedState)] struct Seen { #[shared(segment)] it: View<Segment> }
            const _: fn(&SegmentName, ()) -> Result<Seen, SegmentError> = Seen::create; struct Rest {";
        SegmentOfOtherType, "compile_fail,E0277", "", "} #[derive(SharedState)] struct Other { #[shared(segment)] it: Lock";
    }
}

/// The compiler has no code for what the derive itself refuses.
mod shapes {
    declarations! {
        Accepted, "", "args(workers: usize)", "#[shared(len = workers)] list: RawArray<u8>";
        LockOfNoField, "compile_fail", "", "#[shared(lock = lock)] changed: Condition";
        LockThatIsAnExpression, "compile_fail", "", "lock: Lock, #[shared(lock = &lock)] changed: Condition";
        TwoSegments, "compile_fail", "", "#[shared(segment)] other: Segment";
        TwoAttributes, "compile_fail", "", "#[shared(len = 3, units = 3)] list: RawArray<u8>";
        UnknownAttribute, "compile_fail", "", "#[shared(length = 3)] list: RawArray<u8>";
        EmptyAttribute, "compile_fail", "", "#[shared(len)] list: RawArray<u8>";
        EmptyValue, "compile_fail", "", "#[shared(len = )] list: RawArray<u8>";
        UnknownOption, "compile_fail", "arguments(workers: usize)", "";
        ArgumentWithoutType, "compile_fail", "args(workers)", "";
        NameTooLong, "compile_fail", "", "a234567890123456789012345678901_: Lock";
        NoSegment, "compile_fail", "", "} #[derive(SharedState)] struct Other { lock: Lock";
        Unnamed, "compile_fail", "", "} #[derive(SharedState)] struct Other(#[shared(segment)] Segment); struct Rest {";
        Generic, "compile_fail", "", "} #[derive(SharedState)] struct Other<T> { #[shared(segment)] it: Segment, t: T";
        Enumeration, "compile_fail", "", "} #[derive(SharedState)] enum Other { It { it: Lock }";
    }
}
