//! SIGKILL at random moments, while the server fails in stretches. After each stop the books balance post by
//! post; at the end the server has kept all that was taken, in order, and nothing else.

use crate::site::Site;
use crate::{chance, told};

#[test]
fn killed_at_any_moment_the_hub_loses_nothing_invents_nothing_and_keeps_the_order() {
    let (mut site, kills) = (Site::new(chance()), told("ORACLE_KILLS", 20));
    let found = site.kills(kills);
    println!("{kills} kills: {:?}", site.finish(found));
}
