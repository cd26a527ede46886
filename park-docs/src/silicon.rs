//! `docs/silicon.md`: the questions that `t=silicon` asks of a machine.

use crate::{head, row};
use park_metal::silicon::{Asking, Question};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Questions to silicon

What the manuals leave open, and the image asks of a machine with `t=silicon` ([how to run it](metal.md)). Each is a cell that the
simulator varies: the knob of [the rules](rules.md) with the same meaning stands beside it, and the value that an answer stands
for behind each answer. S is the Intel SDM vol. 3, A the AMD APM vol. 2.

An answer is a line with the question, the answer, knob and value, vendor, family, model, stepping and microcode, and the
figures that led to it. A question without an answer says why. Each event is witnessed, or there is no answer.

",
    );
    let asked = |wanted: fn(Asking) -> bool| {
        let questions = Question::ALL.iter().map(|question| question.subject());
        questions.filter(move |subject| wanted(subject.asking))
    };
    text.push_str("## Always asked\n\nAt worst a CPU has to be started again by INIT.\n\n");
    text.push_str(&head(&["question", "what", "where the manuals are silent", "measured", "knob", "answers"]));
    for subject in asked(|asking| asking == Asking::Always) {
        let name = subject.name.to_owned();
        text.push_str(&row([
            name,
            subject.text.to_owned(),
            subject.silent.to_owned(),
            subject.measured.to_owned(),
            subject.knob.unwrap_or("-").to_owned(),
            answers(subject.answers),
        ]));
    }
    text.push_str(
        "\n## Asked by name\n\nWith `ask=NAME,NAME`, since they can end the run: then no others are asked.\n\n",
    );
    text.push_str(&head(&["question", "what", "what can come of it", "measured", "knob", "answers"]));
    for subject in asked(|asking| matches!(asking, Asking::ByName(_))) {
        text.push_str(&row([
            subject.name.to_owned(),
            subject.text.to_owned(),
            why(subject.asking).to_owned(),
            subject.measured.to_owned(),
            subject.knob.unwrap_or("-").to_owned(),
            answers(subject.answers),
        ]));
    }
    text.push_str("\n## Never asked\n\n");
    text.push_str(&head(&["question", "what", "where the manuals are silent", "why not", "knob"]));
    for subject in asked(|asking| matches!(asking, Asking::Never(_))) {
        text.push_str(&row([
            subject.name.to_owned(),
            subject.text.to_owned(),
            subject.silent.to_owned(),
            why(subject.asking).to_owned(),
            subject.knob.unwrap_or("-").to_owned(),
        ]));
    }
    text
}

fn why(asking: Asking) -> &'static str {
    match asking {
        Asking::Always => "",
        Asking::ByName(why) | Asking::Never(why) => why,
    }
}

fn answers(answers: &[park_metal::silicon::Answer]) -> String {
    let each = answers.iter().map(|answer| match answer.knob_value {
        Some(value) if value == answer.name => format!("`{value}`"),
        Some(value) => format!("`{}` (knob: `{value}`)", answer.name),
        None => format!("`{}` (no knob)", answer.name),
    });
    each.collect::<Vec<_>>().join(", ")
}
