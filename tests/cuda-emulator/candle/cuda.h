// What candle includes it for is in words.h, or left out.
