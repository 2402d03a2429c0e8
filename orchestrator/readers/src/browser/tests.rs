use super::*;

#[test]
fn every_path_has_an_address() {
    assert_eq!(address(Path::new("/a/b-c_d.html")), "file:///a/b-c_d.html");
    assert_eq!(address(Path::new("/a b/ü#?%.html")), "file:///a%20b/%C3%BC%23%3F%25.html");
}

#[test]
fn a_folder_cannot_break_the_configuration_of_fonts() {
    let text = fonts(Path::new("/a<b>&c"), Path::new("/p"));
    assert!(text.contains("<dir>/a&lt;b&gt;&amp;c</dir><cachedir>/p/fontconfig</cachedir>"), "{text}");
    assert_eq!(text.matches("<alias>").count(), 4);
}
