use super::*;

const MIB: u64 = 1 << 20;
const LOOK: Duration = Duration::from_millis(100);

fn held(resident_mib: u64) -> Held {
    Held { resident: resident_mib * MIB, assembler: 100 * MIB }
}

#[test]
fn levels_come_at_once_and_in_their_order() {
    let mut ceiling = Ceiling::new(200 * MIB);
    let now = Instant::now();
    assert_eq!(ceiling.look(now, held(159)), Level::Calm);
    assert_eq!(ceiling.look(now, held(160)), Level::Assembler);
    assert_eq!(ceiling.look(now, held(180)), Level::Records);
    assert_eq!(ceiling.look(now, held(194)), Level::Rings);
    assert!(ceiling.begun().eq([("assembler", 1), ("records", 1), ("rings", 1)]));
    let mut at_once = Ceiling::new(200 * MIB);
    assert_eq!(at_once.look(now, held(500)), Level::Rings);
    assert!(at_once.begun().all(|(_, count)| count == 1), "what is passed over is done, too");
}

#[test]
fn a_level_is_left_after_a_second_of_room_and_one_at_a_time() {
    let mut ceiling = Ceiling::new(200 * MIB);
    let mut now = Instant::now();
    ceiling.look(now, held(194));
    let mut levels = Vec::new();
    for _ in 0..35 {
        now += LOOK;
        levels.push(ceiling.look(now, held(100)));
    }
    levels.dedup();
    assert_eq!(levels, [Level::Rings, Level::Records, Level::Assembler, Level::Calm]);
    assert_eq!(ceiling.assembler_bytes_max(), 75 << 20);
}

#[test]
fn what_swings_about_a_threshold_does_not_make_the_level_swing() {
    let mut ceiling = Ceiling::new(200 * MIB);
    let mut now = Instant::now();
    for n in 0..1_000 {
        now += LOOK;
        ceiling.look(now, held(if n % 2 == 0 { 181 } else { 172 }));
    }
    assert!(ceiling.begun().eq([("assembler", 1), ("records", 1), ("rings", 0)]));
}

#[test]
fn the_assembler_gives_back_what_is_too_much_but_keeps_a_sixteenth() {
    let mut ceiling = Ceiling::new(200 * MIB);
    let now = Instant::now();
    ceiling.look(now, held(170));
    assert_eq!(ceiling.assembler_bytes_max() as u64, 55 * MIB, "20 more than three quarters are resident");
    for _ in 0..100 {
        ceiling.look(now, held(199));
    }
    assert_eq!(ceiling.assembler_bytes_max() as u64, 75 * MIB / 16);
}

/// Whatever is done, a plant that follows what it is told stays below the ceiling.
#[test]
fn the_allotments_leave_room_for_what_has_no_bound() {
    for ceiling_mib in [64, 256, 65_536] {
        let of = Allotment::of(ceiling_mib * MIB);
        let bounded = of.assembler_bytes_max + of.blocks_bytes_max + 2 * of.rings_bytes_max;
        assert_eq!(bounded as u64, ceiling_mib * MIB / 8 * 5);
    }
}

#[test]
fn what_is_resident_is_told() {
    let resident = Resident::open().unwrap();
    let before = resident.bytes().unwrap();
    let block = std::hint::black_box(vec![1_u8; 32 << 20]);
    let with = resident.bytes().unwrap();
    assert!(before > MIB && with >= before + 24 * MIB, "{before} {with}");
    drop(block);
}
