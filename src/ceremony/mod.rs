//! One ceremony as an operator lives it.
