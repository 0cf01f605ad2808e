//! One chart a file: `data()` pure, `draw()` paints it.
