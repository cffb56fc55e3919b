//! Structures that the derive of [`Shareable`](super::Shareable) accepts, and structures that do
//! not compile with it: examples for the documentation tests only. All come from one template, so
//! that a refused structure differs from an accepted one only in the wrong line.

macro_rules! structures {
    ($($name:ident, $outcome:literal, $layout:literal, $structure:literal;)*) => {$(
        #[doc = concat!(
            "```", $outcome, "\n",
            "use multiprocessing::{Plan, Shareable};\n",
            "#[derive(Clone, Copy, Shareable)]\n",
            $layout, "\n",
            $structure, "\n",
            "let _ = Plan::new().value::<Shared>(\"one\").array::<Shared>(\"many\", 9);\n",
            "```",
        )]
        struct $name;
    )*};
}

mod accepted {
    structures! {
        Numbers, "", "#[repr(C)]", "struct Shared(u64, pub i64, f64, [i32; 2],);";
        Mixed, "", "#[repr(C)]", "struct Shared { pub a: u32, pub(crate) b: u16, c: u8, d: i8, e: f32, f: [u16; 2] }";
        Documented, "", "#[repr(C)]", "/// A word.\npub struct Shared { /// Its number.\n #[allow(dead_code)] number: u64 }";
        Nested, "", "#[repr(C)]",
            "struct Shared(Inner, [Inner; 3]); #[derive(Clone, Copy, Shareable)] #[repr(C)] struct Inner([[u8; 4]; 2]);";
        Transparent, "", "#[repr(transparent)]", "struct Shared([u64; 7]);";
        Packed, "", "#[repr(C, packed)]", "struct Shared(u8, u64);";
        TypeWithCommas, "", "#[repr(C)]", "struct Shared(Either<fn() -> u8, u64>, u64); type Either<A, B> = <(A, B) as Second>::Type;
            trait Second { type Type; } impl<A, B> Second for (A, B) { type Type = B; }";
    }
}

/// Fields of eight bytes or more, so that no structure here is refused for its padding.
mod fields {
    structures! {
        Accepted, "", "#[repr(C)]", "struct Shared(u64, i64);";
        Reference, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, &'static u64);";
        Pointer, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, *const u64);";
        Function, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, fn() -> u64);";
        Boxed, "compile_fail,E0204", "#[repr(C)]", "struct Shared(u64, Box<u64>);";
        Text, "compile_fail,E0204", "#[repr(C)]", "struct Shared(u64, String);";
        List, "compile_fail,E0204", "#[repr(C)]", "struct Shared(u64, Vec<u64>);";
        Bools, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, [bool; 8]);";
        Chars, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, [char; 2]);";
        NonZero, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, std::num::NonZeroU64);";
        Optional, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, Option<u32>);";
        Tuple, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, (u64, u64));";
        Changing, "compile_fail,E0204", "#[repr(C)]", "struct Shared(u64, std::cell::Cell<u64>);";
        Uninitialised, "compile_fail,E0277", "#[repr(C)]", "struct Shared(u64, std::mem::MaybeUninit<u64>);";
        Enumeration, "compile_fail,E0277", "#[repr(C)]",
            "struct Shared(u64, Phase); #[derive(Clone, Copy)] #[repr(u64)] enum Phase { Waiting, Done }";
        NotDerived, "compile_fail,E0277", "#[repr(C)]",
            "struct Shared(u64, Inner); #[derive(Clone, Copy)] #[repr(C)] struct Inner(u64);";
    }
}

/// The compiler has no code for what the derive itself refuses.
mod shapes {
    structures! {
        Accepted, "", "#[repr(C)]", "struct Shared(u64, u64);";
        NoRepresentation, "compile_fail", "", "struct Shared(u64, u64);";
        OtherRepresentation, "compile_fail", "#[repr(align(8))]", "struct Shared(u64, u64);";
        PaddingBetween, "compile_fail,E0080", "#[repr(C)]", "struct Shared(u32, u64);";
        PaddingBehind, "compile_fail,E0080", "#[repr(C)]", "struct Shared(u64, u32);";
        PaddingAsked, "compile_fail,E0080", "#[repr(C, align(64))]", "struct Shared(u64, u64);";
        Destructor, "compile_fail,E0184", "#[repr(C)]",
            "struct Shared(u64, u64); impl Drop for Shared { fn drop(&mut self) {} }";
        Borrowing, "compile_fail", "#[repr(C)]", "struct Shared<'a>(u64, std::marker::PhantomData<&'a u64>);";
        Generic, "compile_fail", "#[repr(C)]", "struct Shared<T = u64>(T, T);";
        Enumeration, "compile_fail", "#[repr(u8)]", "enum Shared { Waiting, Done }";
        Union, "compile_fail", "#[repr(C)]", "union Shared { number: u64, reference: &'static u64 }";
        NoBytes, "compile_fail,E0080", "#[repr(C)]", "struct Shared {}";
        OverAligned, "compile_fail,E0080", "#[repr(C, align(128))]", "struct Shared([u64; 16]);";
    }
}
