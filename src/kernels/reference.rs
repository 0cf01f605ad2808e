//! Every op of this folder in plain tensor code: the oracle the fast ones are held to.
