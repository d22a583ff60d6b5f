//! Words: closed sets of them, and how anything is read that a line has as a string.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Reads a string member. Strings of a line have no escapes, so each can be borrowed; an error
/// repeats nothing of it.
pub(crate) fn read_with<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    read(text).ok_or_else(|| D::Error::custom("a member has a value that it can't have"))
}

/// An enum whose members are words, in lines as in exports.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$doc:meta])* $variant:ident = $word:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $( $(#[$doc])* $variant, )+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[ $( $name::$variant, )+ ];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }

            /// Reads the word.
            #[must_use]
            pub fn read(word: &str) -> Option<$name> {
                match word { $( $word => Some($name::$variant), )+ _ => None }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                $crate::words::read_with(from, $name::read)
            }
        }
    };
}

pub(crate) use words;
