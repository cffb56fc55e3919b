//! The storage on file systems that differ in what they support.

use std::fs;

use crate::harness::{Mounted, Participant, Setup, bet, packet_of};

/// File systems and the shell commands that mount them on `$D`. ext2, ext3 and ramfs cannot reserve
/// space.
const FILE_SYSTEMS: [(&str, &str); 6] = [
    ("ext4", "truncate -s 64M $D.img && mkfs.ext4 -q $D.img && mount -o loop $D.img $D"),
    ("ext3", "truncate -s 64M $D.img && mkfs.ext3 -q $D.img && mount -o loop $D.img $D"),
    ("ext2", "truncate -s 64M $D.img && mkfs.ext2 -q $D.img && mount -o loop $D.img $D"),
    ("tmpfs", "mount -t tmpfs tmpfs $D"),
    ("ramfs", "mount -t ramfs ramfs $D"),
    (
        "overlay",
        "mount -t tmpfs tmpfs $D && mkdir $D/low $D/up $D/work && mount -t overlay overlay \
         -o lowerdir=$D/low,upperdir=$D/up,workdir=$D/work $D",
    ),
];

#[test]
fn bets_survive_a_kill_and_the_draw_is_held_on_every_file_system() {
    for (kind, commands) in FILE_SYSTEMS {
        let setup = Setup::new()
            .with("SERVER_DURABILITY", "disk")
            .with("SERVER_PROTOCOL", "typed,framed:0")
            .with("SERVER_AGENCIES", "1")
            .with("SERVER_STORAGE_DIR", "new/storage");
        let Some(mounted) = Mounted::new(&setup, kind, commands) else { continue };
        let start = || setup.start_by(&mut mounted.command(&setup));
        let central = start();
        assert!(central.request(&packet_of("a", 100, 40)).len() > 2, "{kind}");
        central.kill_all();

        let central = start();
        assert_eq!(central.number("bets"), 100, "{kind}");
        let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
        agency.store(&[bet("1", true)]);
        agency.finish();
        agency.ask();
        assert_eq!(agency.winners().0, 1, "{kind}");
        central.kill_all();

        let central = start();
        assert_eq!(central.status()["drawn"], true, "{kind}");
        assert_eq!(central.stop().0, 0, "{kind}");
        let rows = fs::read_to_string(mounted.path("new/storage/bets.csv")).unwrap();
        assert_eq!(rows.lines().count(), 101, "{kind}");
    }
}
