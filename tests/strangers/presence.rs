//! Presence: a name that comes and goes all the time is announced once a second.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{JsonClient, Pair, TestClient, TestServer};

#[test]
fn name_that_comes_and_goes_is_announced_once_a_second_and_the_last_frame_is_true() {
    let server = TestServer::with_config("limits.connects_per_address_per_s = 0");
    let mut programs = Vec::from_iter((0..20).map(|number| JsonClient::login(&server, &format!("program{number}"))));
    programs.iter_mut().for_each(|program| drop(program.ping()));
    let mut pair = Pair::login(&server);
    let began = Instant::now();
    for _ in 0..60 {
        TestClient::login(&server, "flapper").quit();
    }
    pair.chat(20);
    server.wait_until_gone("flapper");
    // The last change is announced within two seconds.
    thread::sleep(Duration::from_millis(2200));
    let frames_max = 3 + began.elapsed().as_secs() as usize;
    for program in &mut programs {
        program.send(json!({"type": "ping", "id": "end"}));
        let frames = std::iter::repeat_with(|| program.next_frame()).take_while(|frame| frame["type"] != "pong");
        let of_flapper = Vec::from_iter(frames.filter(|frame| frame["name"] == "flapper"));
        assert!((2..=frames_max).contains(&of_flapper.len()), "{of_flapper:?}");
        assert_eq!(of_flapper.last().unwrap()["here"], false);
        assert_eq!(of_flapper[0]["here"], true);
    }
}
