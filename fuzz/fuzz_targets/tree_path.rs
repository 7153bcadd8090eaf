//! Any text as the path of a tile: what is taken is the one path of that tile.
#![no_main]

use headtrail_journal::tree::{TILE_WIDTH, Tile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    if let Ok(tile) = path.parse::<Tile>() {
        assert_eq!(tile.to_string(), path);
        assert!((1..=TILE_WIDTH).contains(&usize::from(tile.width)));
        assert_eq!(tile.partial_folder(), format!("{}.p", tile.whole()));
    }
});
