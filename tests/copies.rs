//! What is in two crates, because neither may depend on the other, is the same in both.

#[test]
fn gosd_tonic_and_gosd_tower_treat_credentials_alike() {
    let [tonic, tower] = [
        include_str!("../gosd-tonic/src/credentials.rs"),
        include_str!("../gosd-tower/src/credentials.rs"),
    ]
    // But for the line by which each names the other.
    .map(|file| file.lines().filter(|line| !line.contains("The same in")).collect::<Vec<_>>());
    assert!(tonic.len() > 10);
    assert_eq!(tonic, tower);
}
