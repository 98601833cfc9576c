//! Configuration files and URLs.

use std::{fs, io};

use crate::{root, save};

pub(crate) fn configurations() -> io::Result<()> {
    for (folder, prefix) in [("config", ""), ("fixtures/config/good", "good-"), ("fixtures/config/bad", "bad-")] {
        for entry in fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                save("config", &format!("{prefix}{name}"), &fs::read(&path)?)?;
            }
        }
    }
    let secrets = fs::read_to_string(root().join("fixtures/config/good/secrets.toml"))?;
    save("config", "secrets", secrets.replace("'SECRET'", "\"${KEY1}\"").as_bytes())
}

pub(crate) fn urls() -> io::Result<()> {
    let targets = [
        "rtmp://h/live/s?txSecret=AbC&txTime=67000000",
        "rtmps://h:1935/app?vhost=v/s",
        "rtmp://[::1]:2000/a/b/s?path=/p/q&r",
        "rtmp://h/live-bvc/?streamname=l&key=0a",
        "rtmps://fa7.global-contribute.live-video.net/sk_1",
        "rtmp://u:p@h/a/k",
        "rtmp://h:0/a/k",
        "rtmp://h/a//k#x",
    ];
    for (n, url) in targets.iter().enumerate() {
        save("url", &format!("target-{n}"), &[&[0], url.as_bytes()].concat())?;
    }
    for (n, parts) in
        ["rtmp://h/gifshow/\nkwai_x?sign=a-b&ks_fix_ts&ks_ctx=b64%3D", "rtmps://h\nk", "rtmp://h/a/\n\u{ff}/"]
            .iter()
            .enumerate()
    {
        save("url", &format!("parts-{n}"), &[&[1], parts.as_bytes()].concat())?;
    }
    let media = [
        "https://h:8443/a/b.flv?sign=x%2By&flag",
        "http://us@er:pass@h?q",
        "http://h/a#fragment?x",
        "http://user:pass@h\\a",
        "HTTP://[::1]/a@b",
    ];
    for (n, url) in media.iter().enumerate() {
        save("url", &format!("media-{n}"), &[&[2], url.as_bytes()].concat())?;
    }
    Ok(())
}
